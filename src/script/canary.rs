//! Counting what a server's NGINX has written down of a canary. Deliberately absent: what the counts mean.
use super::quote::quote;
use crate::model::CanaryCheck;

/// What was written down since the place that was asked from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CanaryCounts {
    /// Where the next question begins: the log's length in bytes.
    pub end: u64,
    /// Requests to the new side.
    pub n_new: u64,
    /// Those of them that failed.
    pub bad_new: u64,
    /// Requests to the old side.
    pub n_old: u64,
    /// Those of them that failed.
    pub bad_old: u64,
}

/// A script that prints one line of counts of one server's log. A request has failed when its answer was 5xx, or when a backend had to be passed by: then
/// several statuses stand in its line. Without `from` nothing is counted, and only the log's length is told. NGINX writes whole lines.
#[must_use]
pub fn count_canary(check: &CanaryCheck, log: &str, from: Option<u64>) -> String {
    let from = from.map_or_else(|| "$end".to_owned(), |from| from.to_string());
    format!(
        "echo\nlog={}\nend=$(wc -c <\"$log\" 2>/dev/null) || end=0\nfrom={from}\n[ \"$from\" -le \"$end\" ] || from=0\n\
         tail -c \"+$((from + 1))\" \"$log\" 2>/dev/null | head -c \"$((end - from))\" | awk -v new={} -v old={} -v end=\"$((end))\" '\n\
         {{ bad = ($2 >= 500 || index($0, \",\")) }}\n$1 == new {{ n += 1; b += bad }}\n$1 == old {{ m += 1; c += bad }}\n\
         END {{ printf \"counts %s %d %d %d %d\\n\", end \"\", n, b, m, c }}'\n",
        quote(log),
        quote(&check.new),
        quote(&check.old),
    )
}

/// Reads the line that [`count_canary`] prints.
#[must_use]
pub fn read_canary_counts(line: &str) -> Option<CanaryCounts> {
    let mut numbers = line.strip_prefix("counts ")?.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(CanaryCounts { end: next()?, n_new: next()?, bad_new: next()?, n_old: next()?, bad_old: next()? })
}

/// Empties a log, which NGINX goes on writing to until its next reload: of one that is removed nobody would see how long it grows.
#[must_use]
pub fn forget_canary(log: &str) -> String {
    format!("[ ! -e {0} ] || : >{0}\n", quote(log))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Millis, ServiceName, Share};
    use std::collections::BTreeMap;
    use std::io::{Seek, SeekFrom, Write};
    use std::process::Command;

    #[test]
    fn a_real_shell_counts_what_came_since() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("it's a log");
        let check = CanaryCheck {
            service: ServiceName::new("api").unwrap(),
            logs: BTreeMap::new(),
            new: "shop_prod_api_secondary".to_owned(),
            old: "shop_prod_api".to_owned(),
            time: Millis::seconds(1),
            max_error_rate: Share(100),
            min_requests: 1,
        };
        let path = log.display().to_string();
        let count = |from| {
            let output = Command::new("sh").arg("-c").arg(count_canary(&check, &path, from)).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            said.lines().find_map(read_canary_counts).unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
        };
        assert_eq!(count(None), CanaryCounts::default(), "no log yet");
        let early = "shop_prod_api_secondary 500 500\n";
        std::fs::write(&log, early).unwrap();
        let end = count(None);
        assert_eq!(end, CanaryCounts { end: early.len() as u64, ..CanaryCounts::default() });
        let more = "shop_prod_api_secondary 200 200\nshop_prod_api_secondary 502 502, 502\nshop_prod_api_secondary 200 502, 200\n\
                    shop_prod_api 404 404\nshop_prod_api 499 -\nshop_prod_api 504 504\n";
        std::fs::write(&log, format!("{early}{more}")).unwrap();
        let all = (early.len() + more.len()) as u64;
        assert_eq!(count(Some(end.end)), CanaryCounts { end: all, n_new: 3, bad_new: 2, n_old: 3, bad_old: 1 });
        assert_eq!(count(Some(all)), CanaryCounts { end: all, ..CanaryCounts::default() });
        std::fs::write(&log, early).unwrap();
        assert_eq!(count(Some(all)).bad_new, 1, "a log that was cut is read from its beginning");
        let (much, line) = (3 << 30, "shop_prod_api 200 200\n");
        let mut file = std::fs::File::options().write(true).open(&log).unwrap();
        file.set_len(much).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(line.as_bytes()).unwrap();
        let counts = CanaryCounts { end: much + line.len() as u64, n_old: 1, ..CanaryCounts::default() };
        assert_eq!(count(Some(much)), counts, "a log may be longer than awk can count");
        let forget = || Command::new("sh").arg("-c").arg(forget_canary(&path)).status().unwrap().success();
        assert!(forget() && std::fs::read(&log).unwrap().is_empty());
        std::fs::remove_file(&log).unwrap();
        assert!(forget() && !log.exists());
    }
}
