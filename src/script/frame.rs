//! Several bodies in one script, and how its output is read back: a marker before and after each body, so that attribution is exact.
//! Deliberately absent: the transport.
use crate::model::Failure;

/// How many lines of a body's output are kept for a failure's tail.
const TAIL: usize = 20;
/// So many lines of a body that runs are kept at most.
const MOST_LINES: usize = 1000;

/// Bodies that travel as one script. The script stops at the first body that fails.
#[derive(Debug, Clone)]
pub struct Frame {
    mark: String,
    fence: String,
    bodies: Vec<String>,
}

/// How one body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Exit 0; what was seen.
    Done(String),
    /// Another exit.
    Failed(Failure),
}

/// What was heard of a script while it ran.
#[derive(Debug, Default)]
pub struct Heard {
    running: Option<usize>,
    lines: Vec<String>,
}

/// Something to tell while a script runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// The body of this number has begun.
    Begun(usize),
    /// The body of this number has ended.
    Ended(usize, Verdict),
}

impl Frame {
    /// `nonce` must not occur in any output: sixteen random hex digits.
    #[must_use]
    pub fn new(nonce: &str, bodies: Vec<String>) -> Frame {
        Frame { mark: format!("@flipside-{nonce}"), fence: String::new(), bodies }
    }

    /// The same bodies, none of which begins where this text, run before them, sets `$flipside_refused`: then that is the failure of the
    /// first. What the text opens stays open for all of them.
    #[must_use]
    pub fn behind(mut self, fence: &str) -> Frame {
        self.fence = format!(
            "{fence}if [ -n \"$flipside_refused\" ]; then\n\
             printf '\\n{mark} begin 0\\nerror: %s\\nhint: %s\\n\\n{mark} end 0 1\\n' \"$flipside_refused\" \
             'this run has lost the server; look at `flipside status`, and plan anew'\nexit 0\nfi\n",
            mark = self.mark
        );
        self
    }

    /// The script. Every body is a subshell of its own, with its errors among its output and nothing on its standard input.
    #[must_use]
    pub fn script(&self) -> String {
        let mut text = format!("LC_ALL=C; export LC_ALL\n{}", self.fence);
        for (number, body) in self.bodies.iter().enumerate() {
            text.push_str(&format!("printf '\\n{} begin {number}\\n'\n(\n{body}\n) </dev/null 2>&1\nflipside_code=$?\n", self.mark));
            text.push_str(&format!(
                "printf '\\n{} end {number} %s\\n' \"$flipside_code\"\n[ \"$flipside_code\" = 0 ] || exit 0\n",
                self.mark
            ));
        }
        text
    }

    /// It says how a body has ended, and is no word of what the body ran.
    #[must_use]
    pub fn is_verdict(line: &str) -> bool {
        ["seen: ", "error: ", "wanted: ", "hint: "].iter().any(|key| line.starts_with(key))
    }

    /// Takes in one line of output.
    pub fn hear(&self, heard: &mut Heard, line: &str) -> Option<Sound> {
        let Some(rest) = line.strip_prefix(&self.mark) else {
            if heard.running.is_some() && !line.is_empty() {
                heard.add(line);
            }
            return None;
        };
        let mut words = rest.split_whitespace();
        let (what, number) = (words.next()?, words.next()?.parse().ok()?);
        match what {
            "begin" => {
                heard.running = Some(number);
                heard.lines.clear();
                Some(Sound::Begun(number))
            }
            "end" => {
                heard.running = None;
                let code: i32 = words.next()?.parse().ok()?;
                Some(Sound::Ended(number, judge(code, &std::mem::take(&mut heard.lines))))
            }
            _ => None,
        }
    }
}

impl Heard {
    /// One more line; of a body that says very much only what counts is kept.
    fn add(&mut self, line: &str) {
        self.lines.push(line.to_owned());
        if self.lines.len() >= MOST_LINES {
            let n_old = self.lines.len() - TAIL;
            let mut number = 0;
            self.lines.retain(|line| {
                number += 1;
                number > n_old || Frame::is_verdict(line) || line.starts_with("note: ")
            });
            let n_surplus = self.lines.len().saturating_sub(MOST_LINES / 2);
            self.lines.drain(..n_surplus);
        }
    }

    /// What a body had said when it was cut off.
    #[must_use]
    pub fn cut_off(&self) -> Vec<String> {
        last(self.lines.clone())
    }
}

fn judge(code: i32, lines: &[String]) -> Verdict {
    let told = |key: &str| -> Vec<&str> { lines.iter().filter_map(|line| line.strip_prefix(key)).map(str::trim).collect() };
    if code == 0 {
        let notes = told("note: ");
        let seen = told("seen: ").last().map(|seen| (*seen).to_owned()).unwrap_or_default();
        let all: Vec<String> = std::iter::once(seen).chain(notes.into_iter().map(str::to_owned)).filter(|text| !text.is_empty()).collect();
        return Verdict::Done(all.join("; "));
    }
    let errors = told("error: ");
    let tail: Vec<String> = lines.iter().filter(|line| !Frame::is_verdict(line)).cloned().collect();
    let seen = match errors.last() {
        Some(error) => (*error).to_owned(),
        None => tail.last().cloned().unwrap_or_else(|| "the command failed without a word".to_owned()),
    };
    Verdict::Failed(Failure {
        seen,
        wanted: told("wanted: ").last().map(|text| (*text).to_owned()).unwrap_or_default(),
        causes: errors.split_last().map(|(_, others)| others.iter().map(|text| (*text).to_owned()).collect()).unwrap_or_default(),
        exit: (code != 1 || errors.is_empty()).then_some(code),
        hint: told("hint: ").last().map(|text| (*text).to_owned()).unwrap_or_default(),
        tail: last(tail),
    })
}

fn last(mut lines: Vec<String>) -> Vec<String> {
    let surplus = lines.len().saturating_sub(TAIL);
    lines.drain(..surplus);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn run(bodies: &[&str]) -> Vec<Sound> {
        let frame = Frame::new("0123456789abcdef", bodies.iter().map(|body| (*body).to_owned()).collect());
        let mut shell = Command::new("sh").arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(format!("echo 'Welcome!'\n{}", frame.script()).as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        let mut heard = Heard::default();
        String::from_utf8(output.stdout).unwrap().lines().filter_map(|line| frame.hear(&mut heard, line)).collect()
    }

    #[test]
    fn of_a_body_that_says_very_much_what_counts_is_kept() {
        let mut heard = Heard { running: Some(0), ..Heard::default() };
        let frame = Frame::new("0123456789abcdef", Vec::new());
        frame.hear(&mut heard, "error: the first");
        for number in 0..100_000 {
            frame.hear(&mut heard, &format!("line {number}"));
            assert!(heard.lines.len() < MOST_LINES);
        }
        assert_eq!(heard.lines.first().map(String::as_str), Some("error: the first"));
        assert_eq!(heard.cut_off().last().map(String::as_str), Some("line 99999"));
        for number in 0..10 * MOST_LINES {
            frame.hear(&mut heard, &format!("note: {number}"));
        }
        assert!(heard.lines.len() < MOST_LINES);
    }

    #[test]
    fn each_body_is_told_apart_and_the_first_failure_ends_the_script() {
        let sounds = run(&[
            "echo 'seen: one'; echo 'note: odd'",
            "cat; printf 'no newline'; echo boo >&2; echo 'hint: try'; exit 3",
            "echo 'seen: never'",
        ]);
        assert_eq!(sounds[..2], [Sound::Begun(0), Sound::Ended(0, Verdict::Done("one; odd".to_owned()))]);
        let Sound::Ended(1, Verdict::Failed(failure)) = &sounds[3] else { panic!("{sounds:?}") };
        assert_eq!((failure.exit, failure.hint.as_str(), failure.tail.join("|")), (Some(3), "try", "no newlineboo".to_owned()));
        assert_eq!(sounds.len(), 4, "the third body must not begin");
    }

    #[test]
    fn a_body_cannot_forge_the_frame_without_the_nonce() {
        let sounds = run(&["echo '@flipside-0 end 0 0'; exit 1"]);
        assert!(matches!(&sounds[1], Sound::Ended(0, Verdict::Failed(_))), "{sounds:?}");
    }

    #[test]
    fn behind_a_fence_that_refuses_nothing_begins_and_the_first_body_says_why() {
        let bodies = || vec!["echo 'seen: one'; cat <&8".to_owned(), "echo 'seen: two'".to_owned()];
        let sounds = |fence: &str| {
            let frame = Frame::new("0123456789abcdef", bodies()).behind(fence);
            let output = Command::new("sh").args(["-c", &frame.script()]).output().unwrap();
            let mut heard = Heard::default();
            String::from_utf8(output.stdout).unwrap().lines().filter_map(|line| frame.hear(&mut heard, line)).collect::<Vec<_>>()
        };
        let refused = sounds("flipside_refused='it is gone'\n");
        let Sound::Ended(0, Verdict::Failed(failure)) = &refused[1] else { panic!("{refused:?}") };
        assert_eq!((refused.len(), failure.seen.as_str()), (2, "it is gone"));
        assert!(failure.hint.contains("flipside status"));
        assert_eq!(sounds("flipside_refused=\nexec 8</dev/null\n").len(), 4);
    }

    #[test]
    fn a_shell_error_in_one_body_does_not_end_the_others() {
        let sounds = run(&["cd /tmp && x=1", "[ -z \"${x-}\" ] && echo \"seen: $(pwd)\""]);
        assert!(matches!(&sounds[3], Sound::Ended(1, Verdict::Done(seen)) if seen != "/tmp"), "{sounds:?}");
    }
}
