//! The user's own words of NGINX, read as NGINX reads them (`ngx_conf_read_token` of its source). Deliberately absent: what directives mean.

/// One directive, and how many blocks of the same text it stands in.
#[derive(Debug, PartialEq, Eq)]
struct Directive {
    words: Vec<String>,
    depth: usize,
}

/// What the reader is in the middle of.
enum At {
    /// Before a word.
    Gap,
    /// In a word without quotes.
    Word,
    /// In a word with these quotes.
    Quoted(char),
    /// Right behind the second quote.
    Behind(char),
    /// In a comment, up to the end of its line.
    Comment,
}

/// The words leave the block that they are put into as they find it.
///
/// # Errors
/// A short advice on what is wrong.
pub(super) fn check(text: &str) -> Result<(), String> {
    read(text).map(drop)
}

/// Requests that these words of a `location` apply to are not all written into a log that stands in the same `location`: a log is turned
/// off, or a block inside has logs of its own. Text that NGINX would not read hides nothing: it never serves.
#[must_use]
pub fn hides_requests(text: &str) -> bool {
    let hides = |directive: &Directive| {
        let is_off = directive.words.get(1).is_some_and(|word| word == "off");
        directive.words.first().is_some_and(|name| name == "access_log") && (is_off || directive.depth > 0)
    };
    read(text).is_ok_and(|directives| directives.iter().any(hides))
}

/// What NGINX ends a word at. A form feed is a part of one.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// All directives, in their order.
fn read(text: &str) -> Result<Vec<Directive>, String> {
    let (mut directives, mut words, mut word, mut depth) = (Vec::new(), Vec::<String>::new(), String::new(), 0_usize);
    let (mut at, mut is_variable) = (At::Gap, false);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match at {
            At::Comment => at = if c == '\n' { At::Gap } else { At::Comment },
            At::Behind(quote) if !is_blank(c) && !";{)".contains(c) => {
                return Err(format!("a blank, `;` or `{{` follows the second {quote}, not `{c}`"));
            }
            At::Gap | At::Behind(_) if is_blank(c) => at = At::Gap,
            At::Gap if c == '#' => at = At::Comment,
            At::Gap if c == '"' || c == '\'' => at = At::Quoted(c),
            At::Gap if c == '}' && !words.is_empty() => return Err(no_end(&words)),
            At::Gap if c == '}' => depth = depth.checked_sub(1).ok_or("a `}` closes what it did not open")?,
            At::Quoted(quote) if c == quote => {
                words.push(std::mem::take(&mut word));
                at = At::Behind(quote);
            }
            At::Word if is_blank(c) => {
                words.push(std::mem::take(&mut word));
                at = At::Gap;
            }
            // `${name}` is one word.
            At::Gap | At::Word | At::Behind(_) if c == ';' || (c == '{' && !is_variable) => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                if words.is_empty() {
                    return Err(format!("nothing stands before a `{c}`"));
                }
                directives.push(Directive { words: std::mem::take(&mut words), depth });
                depth += usize::from(c == '{');
                at = At::Gap;
            }
            At::Gap | At::Word | At::Quoted(_) | At::Behind(_) => {
                word.push(c);
                if c == '\\' {
                    word.extend(rest.next());
                }
                at = if let At::Quoted(quote) = at { At::Quoted(quote) } else { At::Word };
            }
        }
        is_variable = c == '$' || (is_variable && c == '{');
    }
    words.extend((!word.is_empty()).then_some(word));
    match at {
        At::Quoted(quote) => Err(format!("a {quote} is not closed")),
        At::Gap | At::Word | At::Behind(_) | At::Comment if !words.is_empty() => Err(no_end(&words)),
        At::Gap | At::Word | At::Behind(_) | At::Comment if depth > 0 => {
            Err("a `{` is not closed; a regular expression with braces stands in quotes".to_owned())
        }
        At::Gap | At::Word | At::Behind(_) | At::Comment => Ok(directives),
    }
}

fn no_end(words: &[String]) -> String {
    let directive: String = words.join(" ").chars().take(40).collect();
    format!("each directive ends in `;`: `{directive}` does not")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nginx_reads_as_whole_directives_stays_in_its_block() {
        for text in [
            "",
            "\n# nothing\n",
            "deny all;",
            "deny all; # office",
            "deny all;# office",
            "allow 10.0.0.0/8; # } not this\ndeny all;\n# end",
            "if ($a ~ \"}\") { return 403; }",
            "if ($a) { return 403; } # ; {",
            "rewrite ^/a#b$ /c;",
            "rewrite \"^/(\\d{1,2})$\" /c;",
            "set $a \"${b}{\";",
            "set $a ${b}c;",
            "set $a 'it\\'s } {';",
            "add_header X-A \"a;b\" always;",
            "return 200 a}b;",
            "index a.html # until the end of the line\n b.html;",
            "location /x { if ($a) { return 403; } }",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_would_end_outside_of_its_block_is_refused() {
        for (text, part) in [
            ("}", "did not open"),
            ("} server {", "did not open"),
            ("location /x {", "`{` is not closed"),
            ("deny all", "`deny all` does not"),
            ("index a.html # x;", "`index a.html` does not"),
            ("deny all; # office\nallow all # ;", "`allow all` does not"),
            ("if ($a) { return 403 }", "`return 403` does not"),
            ("rewrite ^/(\\d{1,2})$ /c;", "in quotes"),
            ("deny all }", "`deny all` does not"),
            // Of what ends a word elsewhere a form feed is a part here, so that `#` begins no comment.
            ("add_header X a\u{c}#; } location /z { add_header Y b\n;", "did not open"),
            ("return 200 \"a;", "\" is not closed"),
            ("return 200 \"a\"b;", "follows the second \""),
            ("deny all;\\", "does not"),
            (";", "nothing stands before a `;`"),
            ("{ deny all; }", "nothing stands before a `{`"),
            ("set $a 'it\\'s;", "' is not closed"),
        ] {
            let fault = check(text).unwrap_err();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }

    #[test]
    fn a_log_that_is_off_or_elsewhere_hides_requests() {
        for text in [
            "access_log off;",
            "deny all;\n  access_log 'off'; # quiet",
            "if ($loggable) { access_log /dev/stderr; }",
            "limit_except GET { access_log off; }",
        ] {
            assert!(hides_requests(text), "{text}");
        }
        for text in ["", "# access_log off;", "add_header X \"access_log off;\";", "access_log /dev/stderr;", "access_log off"] {
            assert!(!hides_requests(text), "{text}");
        }
    }
}
