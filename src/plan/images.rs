//! One image under several names: what an engine says of it is not always what the playbook wrote. Podman puts the registry before short
//! names, and nobody writes `latest`. Deliberately absent: which image a name means, which is its engine's matter.
use crate::facts::Facts;

/// What engines put before a short name.
const USUAL: [&str; 4] = ["docker.io/library/", "index.docker.io/library/", "docker.io/", "localhost/"];

/// The name without what can be left out, with its tag or, where it has one, its digest.
fn whole(name: &str) -> String {
    let short = USUAL.iter().find_map(|usual| name.strip_prefix(usual)).unwrap_or(name);
    let has_tag = |name: &str| name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match short.split_once('@') {
        // By its digest alone: the tag beside it is for people.
        Some((name, digest)) => {
            let bare = if has_tag(name) { name.rsplit_once(':').map_or(name, |(bare, _)| bare) } else { name };
            format!("{bare}@{digest}")
        }
        None if has_tag(short) || short.starts_with("sha256:") => short.to_owned(),
        None => format!("{short}:latest"),
    }
}

/// Two names of one image.
#[must_use]
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one == other || whole(one) == whole(other)
}

/// The server has an image of this name, digest or id.
#[must_use]
pub(super) fn has(facts: &Facts, wanted: &str) -> bool {
    let named = |names: &[String]| names.iter().any(|name| is_same(name, wanted));
    facts.images.iter().any(|image| named(&image.tags) || named(&image.digests) || image.id == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_image_are_the_same_and_others_are_not() {
        for (one, other, same) in [
            ("redis", "redis:latest", true),
            ("docker.io/library/redis:7", "redis:7", true),
            ("docker.io/shop/api:1", "shop/api:1", true),
            ("localhost/shop/api", "shop/api:latest", true),
            ("shop/api:1@sha256:aa", "docker.io/shop/api@sha256:aa", true),
            ("localhost:5000/shop/api@sha256:aa", "localhost:5000/shop/api:2@sha256:aa", true),
            ("redis:7", "redis:8", false),
            ("redis:7", "shop/redis:7", false),
            ("localhost:5000/api", "localhost:5000/api:1", false),
            ("shop/api:1", "shop/api:1@sha256:aa", false),
            ("shop/api@sha256:bb", "shop/api@sha256:aa", false),
        ] {
            assert_eq!(is_same(one, other), same, "{one} and {other}");
        }
    }
}
