//! Finding a revision among those that an Assignment had. Pure.

use lockstep_proto::Digest;

pub use crate::store::PastRevision as Past;

/// Digits of a revision that may be cut short: as many as are shown.
const SHORTEST: usize = 7;

/// The revision whose id begins with `text`; none where no such one was there.
///
/// # Errors
/// More than one begins so, in words.
pub fn find<'a>(past: &'a [Past], text: &str) -> Result<Option<&'a Past>, String> {
    let text = text.to_ascii_lowercase();
    if text.len() < SHORTEST || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut found: Option<&Past> = None;
    // The newest first: one commit may have rendered to several Bundles.
    for one in past
        .iter()
        .rev()
        .filter(|one| one.revision.starts_with(&text))
    {
        match found {
            Some(other) if other.revision != one.revision => {
                return Err(format!(
                    "more than one revision begins with {text}: give more digits"
                ));
            }
            Some(_) => {}
            None => found = Some(one),
        }
    }
    Ok(found)
}

/// The revision before the present one that was applied completely and has
/// another content. `past` is in the order in which they first came.
#[must_use]
pub fn previous<'a>(past: &'a [Past], revision: &str, digest: Digest) -> Option<&'a Past> {
    let came = past
        .iter()
        .position(|one| one.revision == revision && one.digest == digest)
        .unwrap_or(past.len());
    past[..came]
        .iter()
        .rev()
        .find(|one| one.synced && one.digest != digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "a1" is revision aaaa… that rendered to Bundle 1; "!" did not arrive.
    fn past(words: &[&str]) -> Vec<Past> {
        words
            .iter()
            .map(|word| Past {
                revision: word[..1].repeat(40),
                digest: Digest::of(&word.as_bytes()[1..2]),
                commit: None,
                synced: !word.ends_with('!'),
            })
            .collect()
    }

    #[test]
    fn the_one_before_is_the_last_that_arrived_and_is_different() {
        for (words, present, expected) in [
            (&["a1", "b2"][..], "b2", Some("a")),
            (&["a1", "b2"], "a1", None),
            (&["a1", "b2!", "c3"], "c3", Some("a")),
            // Pinned to a former one: further back.
            (&["a1", "b2", "c3"], "b2", Some("a")),
            // The same content at another commit is nothing to go back to.
            (&["a1", "b2", "c2"], "c2", Some("a")),
            // A revert brings a former content back.
            (&["a1", "b2", "c1"], "c1", Some("b")),
            // The history does not reach back to the present one.
            (&["a1", "b2"], "f9", Some("b")),
            (&["a1!"], "b2", None),
            (&[], "a1", None),
        ] {
            let digest = Digest::of(&present.as_bytes()[1..2]);
            let all = past(words);
            let found = previous(&all, &present[..1].repeat(40), digest);
            let found = found.map(|one| one.revision[..1].to_owned());
            assert_eq!(found.as_deref(), expected, "{words:?} at {present}");
        }
    }

    #[test]
    fn few_digits_are_enough_where_they_are_of_one_revision() {
        let mut all = past(&["a1", "b2", "b3"]);
        all[0].revision = format!("{}c", "a".repeat(39));
        all.extend(past(&["a4"]));
        let digest = |text: &str| find(&all, text).unwrap().map(|one| one.digest);
        assert_eq!(digest(&"b".repeat(7)), Some(Digest::of(b"3")));
        assert_eq!(digest(&"B".repeat(40)), Some(Digest::of(b"3")));
        assert_eq!(digest(&"b".repeat(6)), None);
        assert_eq!(digest("main"), None);
        assert_eq!(digest(&"c".repeat(40)), None);
        let error = find(&all, &"a".repeat(10)).unwrap_err();
        assert!(error.contains("more than one"), "{error}");
    }
}
