//! Small formats inside values: durations, images, volumes, host names, variables. Each fault is a short advice for the caret line.
//! Deliberately absent: the tree and its places.
use super::types::Volume;
use crate::model::Millis;
use std::net::IpAddr;

/// `30s`, `500ms`, `2m`, `1h`: whole numbers with one unit.
///
/// # Errors
/// A short advice on how to write it.
pub fn duration(text: &str) -> Result<Millis, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        _ if number.is_empty() => None,
        "" => return Err(format!("a duration has a unit: write `\"{number}s\"`")),
        "ms" => Some(1),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1000),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60_000),
        "h" | "hour" | "hours" => Some(3_600_000),
        _ => None,
    };
    let Some(factor) = factor else {
        return Err("write a whole number and one unit: `\"500ms\"`, `\"30s\"`, `\"2m\"` or `\"1h\"`".to_owned());
    };
    let short = match factor {
        1 => "ms",
        1000 => "s",
        60_000 => "m",
        _ => "h",
    };
    if unit != short {
        return Err(format!("write `\"{number}{short}\"`"));
    }
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).map(Millis).ok_or_else(|| "this is longer than any deploy".to_owned())
}

/// The text in double quotes, as both formats write it.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The list that a command line in one string was meant to be.
pub(super) fn command_list(text: &str) -> String {
    let needs_a_shell = text.contains(['"', '\'', '\\', '$', '`', '|', '&', ';', '<', '>', '(', ')', '*', '?', '~', '#']);
    if needs_a_shell {
        format!("[\"sh\", \"-c\", {}]", quoted(text))
    } else {
        let words: Vec<String> = text.split_whitespace().map(quoted).collect();
        format!("[{}]", words.join(", "))
    }
}

/// An image reference: `[registry/]name[:tag][@digest]`.
pub(super) fn image(text: &str) -> Result<(), String> {
    let name = text.split('@').next().unwrap_or_default();
    let path = name.rsplit_once('/').map_or(name, |(_, last)| last);
    let repository = path.split(':').next().unwrap_or_default();
    if text.contains("://") {
        return Err("write the image without `https://`".to_owned());
    }
    if let Some(wrong) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-/:@[]".contains(*c)) {
        return Err(format!("{wrong:?} cannot stand in an image's name"));
    }
    if repository.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("docker wants the name in lower case: `{}`", text.replacen(repository, &repository.to_lowercase(), 1)));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') || repository.is_empty() || text.ends_with([':', '@', '/']) {
        return Err("an image is written `name:tag`, or `registry.example.com/name:tag`".to_owned());
    }
    Ok(())
}

/// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`.
pub(super) fn is_variable(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// An absolute path that stays where it says: no `.` or `..`, no doubled or final slash.
pub(super) fn absolute_path(text: &str) -> Result<(), String> {
    let Some(rest) = text.strip_prefix('/') else { return Err("write an absolute path, from `/`".to_owned()) };
    if rest.is_empty() {
        return Err("`/` itself cannot be used here".to_owned());
    }
    if rest.ends_with('/') {
        return Err(format!("write it without the last `/`: `{}`", text.trim_end_matches('/')));
    }
    match rest.split('/').find(|part| matches!(*part, "" | "." | "..")) {
        Some("") => Err("one `/` is enough between two names".to_owned()),
        Some(part) => Err(format!("`{part}` cannot be part of the path")),
        None => Ok(()),
    }
}

/// `source:target[:ro|:rw][,external]`.
pub(super) fn volume(text: &str) -> Result<Volume, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        [target] if target.starts_with('/') => return Err(format!("say where the data lives: `NAME:{target}`")),
        _ => return Err("write `source:target` or `source:target:ro`".to_owned()),
    };
    let (mut read_only, mut external) = (false, false);
    for option in options.split(',').filter(|_| parts.len() == 3) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "external" => external = true,
            _ => return Err(format!("`{option}` is not an option of a volume: use `ro`, `rw` or `external`")),
        }
    }
    if external && source.starts_with('/') {
        return Err("a path on the server is what it is: leave out `external`, which is for a volume's name".to_owned());
    }
    if source.starts_with('/') {
        absolute_path(source).map_err(|fault| format!("the path on the server: {fault}"))?;
    } else if source.starts_with(['.', '~']) || source.contains('/') {
        return Err(format!("`{source}` is a path on this machine, not on a server: write an absolute path or a volume's name"));
    } else if !is_volume_name(source) {
        return Err(format!("`{source}` is not a volume's name: use letters, digits, `_`, `.` and `-`"));
    }
    absolute_path(target).map_err(|fault| format!("the path in the container: {fault}"))?;
    Ok(Volume { source: source.to_owned(), target: target.to_owned(), read_only, external })
}

fn is_volume_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// A host name that a browser can ask for, in lower case.
pub(super) fn host_name(text: &str) -> Result<(), String> {
    if let Some((_, rest)) = text.split_once("://") {
        return Err(format!("write the host alone: `{}`", rest.split(['/', ':']).next().unwrap_or_default()));
    }
    if text.contains('*') {
        return Err("wildcards are not supported: name every host".to_owned());
    }
    if text.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("write it in lower case: `{}`", text.to_lowercase()));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(())
    } else {
        Err("a host name is labels of letters, digits and `-` with dots between them: `shop.example.com`".to_owned())
    }
}

/// The path of a request.
pub(super) fn request_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("write `\"/{}\"`", text.rsplit_once("://").map_or(text, |(_, rest)| rest)));
    }
    if text.chars().all(|c| c.is_ascii_graphic() && c != '#') {
        Ok(())
    } else {
        Err("a path has no blanks, no `#` and only ASCII characters: use `%20` and the like".to_owned())
    }
}

/// `512k`, `100m`, `2g`, in KiB, MiB and GiB: bytes. `unlimited` is 0.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let advice = || "write a whole number with `k`, `m` or `g`, as `\"100m\"`, or `\"unlimited\"`".to_owned();
    if text == "unlimited" {
        return Ok(0);
    }
    let shift = match text.chars().last() {
        Some('k') => 10,
        Some('m') => 20,
        Some('g') => 30,
        Some(_) | None => return Err(advice()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| advice())?;
    match number {
        0 => Err("nothing would fit: write `\"unlimited\"` where anything may".to_owned()),
        1..=1_000_000 => Ok(number << shift),
        _ => Err(advice()),
    }
}

/// A path that begins the paths of requests: `/`, or `/api`.
pub(super) fn path_prefix(text: &str) -> Result<(), String> {
    if text == "/" {
        return Ok(());
    }
    if !text.starts_with('/') {
        return Err(format!("write `\"/{}\"`", text.trim_end_matches('/')));
    }
    if text.ends_with('/') {
        return Err(format!("without the slash at its end: `\"{}\"` means the path itself and all below it", text.trim_end_matches('/')));
    }
    let is_part = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && part.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c))
    };
    if text[1..].split('/').all(is_part) && text != "/.flipside" && !text.starts_with("/.flipside/") {
        Ok(())
    } else {
        Err("use letters, digits and `- . _ ~` between single slashes".to_owned())
    }
}

/// An IP address, or a network of them: `10.0.0.0/8`, `2001:db8::/32`.
pub(super) fn network(text: &str) -> Result<(), String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let most: u8 = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return Err("write an address, or a network such as `10.0.0.0/8`".to_owned()),
    };
    match bits.map(str::parse::<u8>) {
        None => Ok(()),
        Some(Ok(bits)) if bits <= most => Ok(()),
        Some(_) => Err(format!("the number after the slash is from 0 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!((size("512k"), size("2g"), size("unlimited")), (Ok(512 << 10), Ok(2 << 30), Ok(0)));
        for text in ["100", "m", "0m", "1.5g", "-1m", "10mb", "2000000g", ""] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_a_path_without_an_end() {
        for text in ["/", "/api", "/api/v1", "/~a/b.c_d-e"] {
            assert_eq!(path_prefix(text), Ok(()), "{text}");
        }
        for text in ["api", "/api/", "//a", "/a//b", "/a/../b", "/a b", "/a;", "/a{", "/%41", "/.flipside", "/.flipside/pages"] {
            assert!(path_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_fit_their_addresses() {
        for text in ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"] {
            assert_eq!(network(text), Ok(()), "{text}");
        }
        for text in ["lb", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/8/8"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_one_unit() {
        for (text, wanted) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Millis(wanted)), "{text}");
        }
        for (text, part) in [
            ("30", "`\"30s\"`"),
            ("30 s", "`\"30s\"`"),
            ("5 minutes", "`\"5m\"`"),
            ("1m30s", "one unit"),
            ("1.5s", "one unit"),
            ("s", "one unit"),
            ("99999999999999999999h", "longer"),
        ] {
            let fault = duration(text).unwrap_err();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }

    #[test]
    fn images_are_checked_lightly() {
        for text in ["nginx", "nginx:stable", "registry.example.com:5000/shop/api:1.4.0", "a/b@sha256:0123", "Registry.example.com/api"] {
            assert_eq!(image(text), Ok(()), "{text}");
        }
        for text in ["", "-v", "Nginx:stable", "a b", "a:", "https://example.com/a", "$(id)", "a/"] {
            assert!(image(text).is_err(), "{text}");
        }
    }

    #[test]
    fn volumes_name_both_ends() {
        let volume = |text| volume(text).map(|volume| (volume.source, volume.target, volume.read_only));
        assert_eq!(volume("data:/var/lib"), Ok(("data".to_owned(), "/var/lib".to_owned(), false)));
        assert_eq!(volume("/srv/x:/x:ro"), Ok(("/srv/x".to_owned(), "/x".to_owned(), true)));
        assert_eq!(volume("data:/x:rw").map(|volume| volume.2), Ok(false));
        for text in ["/data", "data", "./data:/x", "data:x", "data:/", "data:/a/../b", "data:/x:z", "a:b:c:d", ":/x", "d$:/x"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_in_one_string_gets_the_list_it_was_meant_to_be() {
        assert_eq!(command_list("serve --port 80"), r#"["serve", "--port", "80"]"#);
        assert_eq!(command_list("echo \"$A\" | cat"), r#"["sh", "-c", "echo \"$A\" | cat"]"#);
    }
}
