//! What a PEM file of certificates says of its first one (X.509, RFC 5280), and whether a key belongs to it. Deliberately absent: trust and
//! signatures, which are the clients' to judge, and a clock.
use data_encoding::BASE64;
use pkcs8::PrivateKeyInfoRef;
use sec1::EcPrivateKey;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::time::Duration;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{DateTime, Decode, Reader, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::ObjectIdentifier;
use x509_cert::time::Time;
use zeroize::Zeroizing;

/// The first certificate of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The host names that it is for, in lower case; `*.example.com` stands for one label more.
    pub names: Vec<String>,
    /// Seconds since 1970: it is not valid before.
    pub not_before: i64,
    /// Seconds since 1970: it is not valid after.
    pub not_after: i64,
    /// 16 hex digits of the SHA-256 of the whole file.
    pub digest: String,
    key: PublicKey,
}

/// What tells one key from another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PublicKey {
    /// The modulus.
    Rsa(Vec<u8>),
    /// The point.
    Elliptic(Vec<u8>),
    /// Of another kind.
    Other,
}

/// Why a certificate or a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is no block of the kind.
    #[error("it is no PEM file with a certificate (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    /// The block cannot be understood.
    #[error("its first certificate cannot be read")]
    Unreadable,
    /// There is no key.
    #[error("it is no PEM file with a private key (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey,
    /// The key has a passphrase.
    #[error("it has a passphrase, for which NGINX can ask nobody")]
    Encrypted,
    /// The key is of another certificate.
    #[error("it does not belong to the certificate")]
    OtherKey,
}

/// `rsaEncryption` (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480).
const ELLIPTIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

impl Certificate {
    /// Reads the first certificate of a PEM file, which is the server's own; those after it are the way to a root.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn read(pem: &[u8]) -> Result<Self, CertificateError> {
        let (_, der) = blocks(pem).into_iter().find(|(label, _)| label == "CERTIFICATE").ok_or(CertificateError::NoCertificate)?;
        let mut certificate = inside(&der).ok_or(CertificateError::Unreadable)?;
        certificate.digest = Self::digest_of(pem);
        Ok(certificate)
    }

    /// 16 hex digits of the SHA-256 of a whole file: a certificate is nothing that has to be kept secret.
    #[must_use]
    pub fn digest_of(pem: &[u8]) -> String {
        Sha256::digest(pem).iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// It is for this host, in lower case.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let below = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        self.names.iter().any(|name| *name == host || Some(name) == below.as_ref())
    }

    /// The private key in this PEM file is this certificate's. A kind of key that does not say its public half is taken to be: NGINX
    /// looks, too.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn belongs(&self, pem: &[u8]) -> Result<(), CertificateError> {
        if pem.windows(10).any(|bytes| bytes == b"Proc-Type:") {
            return Err(CertificateError::Encrypted);
        }
        let blocks = blocks(pem);
        let (label, der) = blocks.iter().find(|(label, _)| label.ends_with("PRIVATE KEY")).ok_or(CertificateError::NoKey)?;
        let key = match label.as_str() {
            "ENCRYPTED PRIVATE KEY" => return Err(CertificateError::Encrypted),
            "RSA PRIVATE KEY" => rsa_key(der),
            "EC PRIVATE KEY" => elliptic_key(der),
            _ => wrapped_key(der),
        };
        match (&self.key, key) {
            (_, None) => Ok(()),
            (PublicKey::Rsa(_) | PublicKey::Elliptic(_) | PublicKey::Other, Some(key)) if key == self.key => Ok(()),
            (PublicKey::Rsa(_) | PublicKey::Elliptic(_) | PublicKey::Other, Some(_)) => Err(CertificateError::OtherKey),
        }
    }
}

/// The blocks of a PEM file (RFC 7468): label and bytes, of which those of a key are wiped when they are dropped.
fn blocks(pem: &[u8]) -> Vec<(String, Zeroizing<Vec<u8>>)> {
    let text = Zeroizing::new(String::from_utf8_lossy(pem).into_owned());
    let mut blocks = Vec::new();
    let mut open: Option<(String, Zeroizing<String>)> = None;
    for line in text.lines().map(str::trim) {
        let label = |begin: &str| Some(line.strip_prefix(begin)?.strip_suffix("-----")?.to_owned());
        if let Some(label) = label("-----BEGIN ") {
            open = Some((label, Zeroizing::new(String::new())));
        } else if let Some(end) = label("-----END ") {
            let whole = open.take().filter(|(label, _)| *label == end);
            let decoded = whole.and_then(|(label, body)| Some((label, Zeroizing::new(BASE64.decode(body.as_bytes()).ok()?))));
            blocks.extend(decoded);
        } else if let Some((_, body)) = &mut open {
            body.push_str(line);
        }
    }
    blocks
}

fn inside(der: &[u8]) -> Option<Certificate> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let inner = certificate.tbs_certificate();
    let names = match inner.get_extension::<SubjectAltName>().ok()? {
        None => Vec::new(),
        Some((_, SubjectAltName(all))) => all.iter().filter_map(host).collect(),
    };
    let (validity, info) = (inner.validity(), inner.subject_public_key_info());
    Some(Certificate {
        names,
        not_before: seconds(validity.not_before),
        not_after: seconds(validity.not_after),
        digest: String::new(),
        key: public_key(info.algorithm.oid, info.subject_public_key.as_bytes()?)?,
    })
}

fn host(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_lowercase()),
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

fn seconds(time: Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

fn public_key(kind: ObjectIdentifier, bits: &[u8]) -> Option<PublicKey> {
    Some(match kind {
        RSA => PublicKey::Rsa(leading_number(bits, 0)?),
        ELLIPTIC => PublicKey::Elliptic(bits.to_vec()),
        _ => PublicKey::Other,
    })
}

/// PKCS #8 (RFC 5208). None where its public half is not in it.
fn wrapped_key(der: &[u8]) -> Option<PublicKey> {
    let info = PrivateKeyInfoRef::try_from(der).ok()?;
    let key = info.private_key.as_bytes();
    match info.algorithm.oid {
        RSA => rsa_key(key),
        ELLIPTIC => elliptic_key(key),
        _ => Some(PublicKey::Other),
    }
}

/// PKCS #1 (RFC 8017): the version is before the modulus.
fn rsa_key(der: &[u8]) -> Option<PublicKey> {
    leading_number(der, 1).map(PublicKey::Rsa)
}

/// SEC 1 (RFC 5915).
fn elliptic_key(der: &[u8]) -> Option<PublicKey> {
    let key = EcPrivateKey::from_der(der).ok()?;
    key.public_key.map(|point| PublicKey::Elliptic(point.to_vec()))
}

/// The number that comes after so many others at the beginning of a sequence.
fn leading_number(der: &[u8], n_before: usize) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(der).ok()?;
    let number = reader.sequence(|inside| {
        for _ in 0..n_before {
            UintRef::decode(inside)?;
        }
        let number = UintRef::decode(inside)?.as_bytes().to_vec();
        inside.read_slice(inside.remaining_len())?;
        Ok::<_, x509_cert::der::Error>(number)
    });
    number.ok()
}

/// The day of a moment, seconds since 1970, in UTC: `2027-01-31`.
#[must_use]
pub fn day_of(seconds: i64) -> String {
    let moment = DateTime::from_unix_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    moment.map(|moment| format!("{:04}-{:02}-{:02}", moment.year(), moment.month(), moment.day())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_800_000_000, "2027-01-15"),
            (-1, "1970-01-01"),
            (4_107_542_399, "2100-02-28"),
        ] {
            assert_eq!(day_of(seconds), day);
        }
    }

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        assert_eq!(Certificate::read(b"hello"), Err(CertificateError::NoCertificate));
        let damaged = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert_eq!(Certificate::read(damaged), Err(CertificateError::Unreadable));
    }

    #[test]
    fn a_star_is_one_label() {
        let names = vec!["shop.example.com".to_owned(), "*.b.example.com".to_owned()];
        let certificate = Certificate { names, not_before: 0, not_after: 1, digest: String::new(), key: PublicKey::Other };
        for (host, is) in [("shop.example.com", true), ("x.b.example.com", true), ("b.example.com", false), ("x.y.b.example.com", false)] {
            assert_eq!(certificate.covers(host), is, "{host}");
        }
    }
}
