//! A release that is tried on a part of the traffic: how much, and what it must show. Deliberately absent: counting.
use super::names::{ServerName, ServiceName};
use super::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A part of a whole, in hundredths of a percent: 1 000 is 10 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(pub u32);

impl Share {
    /// All of it.
    pub const WHOLE: Share = Share(10_000);

    /// Reads `10%` or `0.5%`: at most two digits after the point, and no more than the whole.
    #[must_use]
    pub fn read(text: &str) -> Option<Share> {
        let number = text.strip_suffix('%')?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 || whole.len() > 3 {
            return None;
        }
        let part: u32 = format!("{part:0<2}").parse().ok()?;
        Some(Share(whole.parse::<u32>().ok()? * 100 + part)).filter(|share| *share <= Share::WHOLE)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// What the servers' NGINXs have written down of a canary, and when it is too much: all servers' requests are judged together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryCheck {
    /// The service, for messages.
    pub service: ServiceName,
    /// The log of each server that splits, as an absolute path there: the upstream's name, the status, and that of each backend that was tried.
    pub logs: BTreeMap<ServerName, String>,
    /// The name of the new side's upstream.
    pub new: String,
    /// The name of the old side's upstream.
    pub old: String,
    /// So long it is counted, from when the check began.
    pub time: Millis,
    /// The new side may fail by so much more of its requests than the old side.
    pub max_error_rate: Share,
    /// Fewer requests to the new side say nothing.
    pub min_requests: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_written_as_it_is_read() {
        for (text, share) in [("10%", 1_000), ("0.5%", 50), ("0.25%", 25), ("100%", 10_000), ("0%", 0), ("7.05%", 705)] {
            assert_eq!(Share::read(text), Some(Share(share)), "{text}");
            assert_eq!(Share(share).to_string(), text);
        }
        for text in ["", "10", "%", "101%", "100.01%", "1.234%", "-1%", "1,5%", ".5%", "5.%", "ten%", "+1%"] {
            assert_eq!(Share::read(text), None, "{text}");
        }
    }
}
