//! Logging in: the keys of an offer, one after another, each once. Deliberately absent: passwords, and the `none` probe, which costs a round trip.
use super::error::ConnectError;
use super::identity::{Candidate, Identities, Key, Offer};
use super::session::Client;
use super::target::Hop;
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use std::sync::Arc;

/// How it ended.
pub(super) enum Login {
    /// Logged in.
    Done,
    /// The connection ended at the first key, named here. It must not be tried again: to a server with `MaxAuthTries 1`
    /// that would be one failed authentication after another.
    Broken(String),
    /// No.
    Refused(ConnectError),
}

/// What became of one key.
enum Tried {
    Accepted,
    Refused { methods: MethodSet, more_wanted: bool },
    Unusable(String),
    Broken,
}

/// Offers the keys to the server.
pub(super) async fn login(handle: &mut Handle<Client>, hop: &Hop, identities: &Identities) -> Login {
    let Offer { candidates, mut unusable } = identities.offer(hop).await;
    let (at, user) = (hop.at(), hop.user.clone());
    let mut refused = Vec::new();
    let mut offered = "nothing".to_owned();
    for candidate in candidates {
        match offer(handle, hop, identities, &candidate).await {
            Tried::Accepted => return Login::Done,
            Tried::Broken if refused.is_empty() => return Login::Broken(candidate.label),
            Tried::Broken => {
                offered = "no further try (it hung up)".to_owned();
                refused.push(candidate.label);
                break;
            }
            Tried::Unusable(cause) => unusable.push(format!("{} could not sign: {cause}", candidate.label)),
            Tried::Refused { methods, more_wanted } => {
                refused.push(if more_wanted { format!("{} (accepted, but not enough)", candidate.label) } else { candidate.label });
                offered = names(&methods);
                if !methods.contains(&MethodKind::PublicKey) {
                    break;
                }
            }
        }
    }
    let unusable: String = unusable.iter().map(|problem| format!("; {problem}")).collect();
    Login::Refused(if refused.is_empty() {
        ConnectError::NoKey { at, user, unusable }
    } else {
        let tried = format!("the server refused {}", refused.join(", "));
        ConnectError::NoKeyAccepted { at, user, tried, unusable, methods: offered }
    })
}

async fn offer(handle: &mut Handle<Client>, hop: &Hop, identities: &Identities, candidate: &Candidate) -> Tried {
    let user = hop.user.clone();
    let result = match &candidate.key {
        Key::File(key) => {
            let Some(hash) = hash_for(handle, &key.algorithm()).await else { return sha1_only() };
            handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(Arc::clone(key), hash)).await.map_err(|error| error.to_string())
        }
        Key::Certified(key, certificate) => {
            handle.authenticate_openssh_cert(user, Arc::clone(key), certificate.as_ref().clone()).await.map_err(|error| error.to_string())
        }
        Key::Agent(identity) => {
            let mut agent = match identities.agent().await {
                Ok(agent) => agent,
                Err(error) => return Tried::Unusable(error.to_string()),
            };
            let Some(hash) = hash_for(handle, &identity.public_key().algorithm()).await else { return sha1_only() };
            match identity.as_ref() {
                AgentIdentity::PublicKey { key, .. } => handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await,
                AgentIdentity::Certificate { certificate, .. } => {
                    handle.authenticate_certificate_with(user, certificate.clone(), hash, &mut agent).await
                }
            }
            .map_err(|error| error.to_string())
        }
    };
    match result {
        Ok(AuthResult::Success) => Tried::Accepted,
        _ if handle.is_closed() => Tried::Broken,
        Ok(AuthResult::Failure { remaining_methods, .. }) if remaining_methods.is_empty() => Tried::Broken,
        Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
            Tried::Refused { methods: remaining_methods, more_wanted: partial_success }
        }
        Err(cause) => Tried::Unusable(cause),
    }
}

/// The hash for an RSA key: asked only for RSA, because the answer may take a second. [`None`] when the server knows SHA-1 only.
async fn hash_for(handle: &Handle<Client>, algorithm: &Algorithm) -> Option<Option<HashAlg>> {
    if !matches!(algorithm, Algorithm::Rsa { .. }) {
        return Some(None);
    }
    match handle.best_supported_rsa_hash().await {
        Ok(Some(Some(hash))) => Some(Some(hash)),
        Ok(Some(None)) => None,
        Ok(None) | Err(_) => Some(Some(HashAlg::Sha512)),
    }
}

fn sha1_only() -> Tried {
    Tried::Unusable("the server knows RSA with SHA-1 only".to_owned())
}

fn names(methods: &MethodSet) -> String {
    let names: Vec<String> = methods.iter().map(String::from).collect();
    names.join(", ")
}
