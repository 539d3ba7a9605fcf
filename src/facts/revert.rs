//! The revert that waits on a server, as its files say. Deliberately absent: who writes them (see `script::revert`).
use super::read::generation;
use super::types::{RevertFact, RevertState};

/// `watching` or `lost`, then `TOKEN PROCESS SECONDS BACK GENERATION…` and the holder; or `ended`, then `WORD SECONDS BACK`, the holder
/// and what was seen. Anything else is no revert: one that is taken away while it is asked about must not make a server unusable.
pub(super) fn read(text: &str) -> Option<RevertFact> {
    let mut lines = text.lines();
    let (kind, words) = (lines.next()?, lines.next()?);
    let holder = lines.next()?.to_owned();
    let words: Vec<&str> = words.split_whitespace().collect();
    let (state, seconds, back, to, text) = match (kind, words.as_slice()) {
        ("watching", [token, _, seconds, back, to @ ..]) => (RevertState::Watching, seconds, back, to, (*token).to_owned()),
        ("lost", [token, _, seconds, back, to @ ..]) => (RevertState::Lost, seconds, back, to, (*token).to_owned()),
        ("ended", [word, seconds, back]) => {
            let state = match *word {
                "reverted" => RevertState::Reverted,
                "left" => RevertState::Left,
                "failed" => RevertState::Failed,
                _ => return None,
            };
            let told = lines.next_back().unwrap_or_default();
            let none: &[&str] = &[];
            (state, seconds, back, none, told.trim_start_matches("seen: ").trim_start_matches("error: ").to_owned())
        }
        _ => return None,
    };
    let to = to.iter().map(|word| generation(word)).collect::<Option<Vec<_>>>()?;
    Some(RevertFact { state, at: seconds.parse::<u64>().ok()?.saturating_mul(1000), back: generation(back)?, to, holder, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armed_lost_and_ended_are_told_apart() {
        assert_eq!(read(""), None);
        let armed = read("watching\nab-12 77 1795262399 aa11 bb22 cc33\nann@laptop: flipside deploy").unwrap();
        assert_eq!((armed.state, armed.at, armed.back.0.as_str()), (RevertState::Watching, 1_795_262_399_000, "aa11"));
        assert_eq!((armed.text.as_str(), armed.holder.as_str()), ("ab-12", "ann@laptop: flipside deploy"));
        assert_eq!(armed.to.iter().map(|generation| generation.0.as_str()).collect::<Vec<_>>(), ["bb22", "cc33"]);
        assert_eq!(read("lost\nab-12 77 1795262399 aa11 bb22\nann").unwrap().state, RevertState::Lost);
        let ended = read("ended\nreverted 1795262399 aa11\nann\nnote\nseen: generation aa11 is served after 0.15 s").unwrap();
        assert_eq!((ended.state, ended.text.as_str()), (RevertState::Reverted, "generation aa11 is served after 0.15 s"));
    }

    #[test]
    fn what_nobody_writes_is_no_revert() {
        for text in
            ["watching", "watching\nab 77 soon aa11 bb22\nann", "ended\nexploded 1 aa\nann", "lost\nab 1 2 ../x y\nann", "odd\na b c d\ne"]
        {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
