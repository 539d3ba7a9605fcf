//! The values of secrets while they are in memory, and the proof by which a later plan sees that one has changed.
//! Deliberately absent: where values come from, and any way to print or to serialise one.
use super::names::SecretName;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use zeroize::Zeroizing;

/// The most bytes that a value may have.
pub const LARGEST_SECRET: usize = 512 << 10;

/// The value of one secret: any bytes. It is wiped from memory when it is dropped, and no format shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for whoever writes them where they belong.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The values that a run needs, and its salt.
#[derive(Debug, Clone)]
pub struct Secrets {
    salt: Secret,
    values: BTreeMap<SecretName, Secret>,
}

/// A secret that nobody has the value of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret `{0}` is needed, and its value was not read")]
pub struct MissingSecret(pub SecretName);

impl Secrets {
    /// No value at all: for commands that need none.
    #[must_use]
    pub fn none() -> Self {
        Self::new([0; 32], BTreeMap::new())
    }

    /// The values, and 32 random bytes that no other run has.
    #[must_use]
    pub fn new(salt: [u8; 32], values: BTreeMap<SecretName, Secret>) -> Self {
        Self { salt: Secret::new(salt.to_vec()), values }
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &Secret> {
        self.values.values()
    }

    /// The value of a secret.
    ///
    /// # Errors
    /// [`MissingSecret`] where it was not read.
    pub fn value(&self, name: &SecretName) -> Result<&Secret, MissingSecret> {
        self.values.get(name).ok_or_else(|| MissingSecret(name.clone()))
    }

    /// What is kept beside these values on a server.
    ///
    /// # Errors
    /// [`MissingSecret`] where one was not read.
    pub fn proof(&self, names: &BTreeSet<SecretName>) -> Result<SecretsProof, MissingSecret> {
        let salt = hex(self.salt.bytes());
        let macs = names.iter().map(|name| Ok((name.clone(), mac(&salt, name, self.value(name)?)))).collect::<Result<_, _>>()?;
        Ok(SecretsProof { salt, macs })
    }

    /// Those of these secrets whose value here is another one than when the proof was made. What was not read is not compared.
    #[must_use]
    pub fn changed<'n>(&self, names: &'n BTreeSet<SecretName>, proof: &SecretsProof) -> Vec<&'n SecretName> {
        let differs = |name: &SecretName| {
            self.values.get(name).is_some_and(|value| proof.macs.get(name).is_none_or(|made| *made != mac(&proof.salt, name, value)))
        };
        names.iter().filter(|name| differs(name)).collect()
    }
}

/// HMAC-SHA256 (RFC 2104) of each value, under a salt of its own: equal values of two runs have different codes, so that nobody can
/// compare them. Whoever has salt and codes could try out weak values, so a proof stays where the values are, with the same rights.
#[derive(Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SecretsProof {
    salt: String,
    macs: BTreeMap<SecretName, String>,
}

impl fmt::Debug for SecretsProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.macs.keys()).finish()
    }
}

impl SecretsProof {
    /// As it stands in its file: `salt HEX`, then `NAME HEX` a line.
    #[must_use]
    pub fn text(&self) -> String {
        self.macs.iter().fold(format!("salt {}\n", self.salt), |text, (name, mac)| text + &format!("{name} {mac}\n"))
    }

    /// Reads the file. One that is damaged proves nothing: every secret counts as changed then.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let salt = lines.next().filter(|(key, _)| *key == "salt").map(|(_, salt)| salt.to_owned()).unwrap_or_default();
        Self { salt, macs: lines.filter_map(|(name, mac)| Some((SecretName::new(name).ok()?, mac.to_owned()))).collect() }
    }
}

fn mac(salt: &str, name: &SecretName, value: &Secret) -> String {
    Hmac::<Sha256>::new_from_slice(salt.as_bytes()).map_or_else(
        |_| String::new(),
        |mut mac| {
            mac.update(name.as_str().as_bytes());
            mac.update(&[0]);
            mac.update(value.bytes());
            hex(&mac.finalize().into_bytes())
        },
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    fn secrets(salt: u8, values: &[(&str, &str)]) -> Secrets {
        Secrets::new([salt; 32], values.iter().map(|(key, value)| (name(key), Secret::new(value.as_bytes().to_vec()))).collect())
    }

    #[test]
    fn nothing_shows_a_value() {
        let all = secrets(0x5a, &[("db", "hunter2-hunter2")]);
        let proof = all.proof(&BTreeSet::from([name("db")])).unwrap();
        let shown = format!("{all:?} {:?} {proof:?} {}", all.value(&name("db")).unwrap(), MissingSecret(name("db")));
        assert!(!shown.contains("hunter2") && !shown.contains(&proof.macs[&name("db")]) && !shown.contains("5a5a"), "{shown}");
    }

    #[test]
    fn a_changed_value_is_seen_under_any_salt_and_an_equal_one_is_not() {
        let names = BTreeSet::from([name("db"), name("key")]);
        let before = secrets(1, &[("db", "one"), ("key", "two")]);
        let proof = SecretsProof::read(&before.proof(&names).unwrap().text());
        assert!(secrets(2, &[("db", "one"), ("key", "two")]).changed(&names, &proof).is_empty());
        assert_eq!(secrets(2, &[("db", "one"), ("key", "other")]).changed(&names, &proof), [&name("key")]);
        assert_eq!(secrets(2, &[("db", "two"), ("key", "one")]).changed(&names, &proof).len(), 2, "the name is a part of it");
        assert!(Secrets::none().changed(&names, &proof).is_empty(), "what was not read is not compared");
        assert_eq!(before.changed(&names, &SecretsProof::read("damaged")).len(), 2);
        assert_eq!(before.proof(&BTreeSet::from([name("x")])), Err(MissingSecret(name("x"))));
    }

    #[test]
    fn equal_values_have_different_codes_in_two_runs() {
        let names = BTreeSet::from([name("db")]);
        let proof = |salt| secrets(salt, &[("db", "one")]).proof(&names).unwrap();
        assert_eq!(proof(1), proof(1));
        assert_ne!(proof(1).macs, proof(2).macs);
    }
}
