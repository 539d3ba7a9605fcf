//! What a PEM file of certificates says of its first one (X.509, RFC 5280), and whether a key belongs to it. Deliberately absent: trust and
//! signatures, which are the clients' to judge, and a clock.
use super::der::{BITS, Der, OCTETS, OID, TIME, UTC_TIME};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
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

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ELLIPTIC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

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
    let mut body = Der(der).sequence()?.sequence()?;
    body.maybe(0xa0);
    body.take(super::der::INTEGER)?;
    body.sequence()?;
    body.sequence()?;
    let mut validity = body.sequence()?;
    let (not_before, not_after) = (moment(&mut validity)?, moment(&mut validity)?);
    body.sequence()?;
    let key = public_key(body.sequence()?)?;
    let mut names = Vec::new();
    while let Some((tag, contents)) = body.next() {
        if tag == 0xa3 {
            names = alternative_names(Der(contents).sequence()?);
        }
    }
    Some(Certificate { names, not_before, not_after, digest: String::new(), key })
}

fn alternative_names(mut extensions: Der<'_>) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(mut extension) = extensions.sequence() {
        if extension.take(OID) != Some(ALTERNATIVE_NAMES) {
            continue;
        }
        extension.maybe(0x01);
        let mut all = extension.take(OCTETS).and_then(|inside| Der(inside).sequence()).unwrap_or(Der(&[]));
        while let Some((tag, contents)) = all.next() {
            if tag == 0x82 {
                names.push(String::from_utf8_lossy(contents).to_lowercase());
            }
        }
    }
    names
}

fn public_key(mut info: Der<'_>) -> Option<PublicKey> {
    let kind = info.sequence()?.take(OID)?;
    let bits = info.bits()?;
    Some(match kind {
        RSA => PublicKey::Rsa(Der(bits).sequence()?.number()?.to_vec()),
        ELLIPTIC => PublicKey::Elliptic(bits.to_vec()),
        _ => PublicKey::Other,
    })
}

/// PKCS #8 (RFC 5208). None where its public half is not in it.
fn wrapped_key(der: &[u8]) -> Option<PublicKey> {
    let mut info = Der(der).sequence()?;
    info.number()?;
    let kind = info.sequence()?.take(OID)?;
    let key = info.take(OCTETS)?;
    match kind {
        RSA => rsa_key(key),
        ELLIPTIC => elliptic_key(key),
        _ => Some(PublicKey::Other),
    }
}

/// PKCS #1 (RFC 8017).
fn rsa_key(der: &[u8]) -> Option<PublicKey> {
    let mut key = Der(der).sequence()?;
    key.number()?;
    Some(PublicKey::Rsa(key.number()?.to_vec()))
}

/// SEC 1 (RFC 5915).
fn elliptic_key(der: &[u8]) -> Option<PublicKey> {
    let mut key = Der(der).sequence()?;
    key.number()?;
    key.take(OCTETS)?;
    key.maybe(0xa0);
    let point = key.maybe(0xa1).map(Der).and_then(|mut inside| inside.take(BITS))?;
    Some(PublicKey::Elliptic(point.strip_prefix(&[0])?.to_vec()))
}

/// `YYMMDDHHMMSSZ`, where years are 1950 to 2049, or `YYYYMMDDHHMMSSZ`: seconds since 1970.
fn moment(der: &mut Der<'_>) -> Option<i64> {
    let (tag, bytes) = der.next()?;
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2).and_then(|digits| digits.parse::<i64>().ok());
    let days = days_since_1970(year, part(0)?, part(2)?);
    Some(((days * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?)
}

/// By counting from the first of March, where a leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The day of a moment, in UTC: `2027-01-31`. The inverse of the above.
#[must_use]
pub fn day_of(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let mut year = 1970 + days.div_euclid(366);
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_since_1970(year, month + 1, 1) <= days {
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", days - days_since_1970(year, month, 1) + 1)
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
            (-1, "1969-12-31"),
            (4_107_542_399, "2100-02-28"),
        ] {
            assert_eq!(day_of(seconds), day);
        }
        let mut der = Der(b"\x17\x0d270115080000Z");
        assert_eq!(moment(&mut der), Some(1_800_000_000));
        assert_eq!(moment(&mut Der(b"\x18\x0f20270115080000Z")), Some(1_800_000_000));
        assert_eq!(moment(&mut Der(b"\x17\x0d490101000000Z")).map(day_of), Some("2049-01-01".to_owned()));
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
