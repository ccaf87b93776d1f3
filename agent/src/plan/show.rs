//! Two states of an object as a unified diff of YAML, without what only the
//! server says of it and without a word of what a Secret holds: pure.

use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeMap as _;
use serde_json::{Map, Value};
use similar::TextDiff;

/// Bytes of one diff. The contract's bound.
const LARGEST: usize = 64 << 10;
/// A line that is longer says nothing to anybody.
const LONGEST_LINE: usize = 4 << 10;
/// Lines around a change.
const CONTEXT: usize = 3;
/// Looking for the shortest diff of two large texts may take long; the first
/// one found in this time will do.
const SEARCH: Duration = Duration::from_secs(1);

/// Set by the server on every object.
const SERVERS: &[&str] = &[
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Where `kubectl apply` and others like it keep a copy of the whole object.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// An annotation of a Secret that is as long may be such a copy.
const SHORT: usize = 256;

/// Shorter words are found in others.
const PLAIN: usize = 4;

const SAME: &str = "(masked)";
const BEFORE: &str = "(masked, before)";
const AFTER: &str = "(masked, after)";

/// What changes from `before` to `after`; nothing where they are the same in
/// all that somebody can want of an object.
#[must_use]
pub fn diff(
    object: &str,
    revision: &str,
    mut before: Option<Value>,
    mut after: Option<Value>,
) -> Option<String> {
    for state in [&mut before, &mut after].into_iter().flatten() {
        clean(state);
    }
    if before == after {
        return None;
    }
    let secret = before.as_ref().or(after.as_ref()).is_some_and(is_secret);
    if secret {
        mask(before.as_mut(), after.as_mut());
    }
    let header = |there: bool, words: String| {
        if there { words } else { "/dev/null".to_owned() }
    };
    let old = header(before.is_some(), format!("{object} on the cluster"));
    let short = revision.get(..7).unwrap_or(revision);
    let new = header(after.is_some(), format!("{object} at {short}"));
    let (before, after) = (text(before.as_ref()), text(after.as_ref()));
    let diff = TextDiff::configure()
        .timeout(SEARCH)
        .diff_lines(&before, &after);
    let diff = diff
        .unified_diff()
        .context_radius(CONTEXT)
        .header(&old, &new)
        .to_string();
    Some(cut(&diff))
}

/// `message` without a word of what `object` holds, if it is a Secret: an API
/// server says what it cannot read.
#[must_use]
pub fn redact(message: &str, object: &[u8]) -> String {
    let object: Value = serde_json::from_slice(object).unwrap_or_default();
    if !is_secret(&object) {
        return message.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    for field in ["data", "stringData"] {
        gather(&object[field], &mut words);
    }
    // The longest first: one may be part of another.
    words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    words
        .iter()
        .filter(|word| !word.is_empty())
        .fold(message.to_owned(), |text, word| without(&text, word))
}

/// `text` without `word`. A very short one stands in every sentence: it counts
/// only where it stands alone.
fn without(text: &str, word: &str) -> String {
    if word.len() >= PLAIN {
        return text.replace(word, SAME);
    }
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        kept.push_str(before);
        let part_of_more = joins(kept.chars().next_back()) || joins(after.chars().next());
        kept.push_str(if part_of_more { word } else { SAME });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Every value below, as it may be quoted.
fn gather(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => words.push(number.to_string()),
        Value::String(text) => {
            let quoted = format!("{text:?}");
            words.push(quoted[1..quoted.len() - 1].to_owned());
            words.extend(text.lines().map(str::to_owned));
            words.push(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, words)),
        Value::Object(fields) => fields.values().for_each(|field| gather(field, words)),
    }
}

fn is_secret(object: &Value) -> bool {
    object["kind"] == "Secret" && object["apiVersion"] == "v1"
}

fn clean(object: &mut Value) {
    if let Some(parts) = object.as_object_mut() {
        parts.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVERS {
            metadata.remove(*field);
        }
    }
}

/// Puts words in place of everything that a Secret keeps, so that a change is
/// seen and what changed is not.
fn mask(before: Option<&mut Value>, after: Option<&mut Value>) {
    let (was, is) = (before.as_deref().cloned(), after.as_deref().cloned());
    for (state, other, differs) in [(before, is, BEFORE), (after, was, AFTER)] {
        let Some(state) = state else { continue };
        for path in ["/data", "/stringData", "/metadata/annotations"] {
            if let Some(held) = state.pointer_mut(path) {
                let other = other.as_ref().and_then(|other| other.pointer(path));
                mask_map(held, other, differs, path.starts_with("/metadata"));
            }
        }
    }
}

/// Of `annotations`, only those that may be copies of the Secret.
fn mask_map(held: &mut Value, other: Option<&Value>, differs: &str, annotations: bool) {
    let Some(fields) = held.as_object_mut() else {
        // No map, though it should be one: all of it is kept to ourselves.
        *held = differs.into();
        return;
    };
    for (key, value) in fields {
        let plain = annotations
            && key != COPY
            && value
                .as_str()
                .is_some_and(|text| text.len() <= SHORT && !text.starts_with(['{', '[']));
        if !plain {
            let other = other.and_then(|other| other.get(key));
            let same = other.is_none_or(|other| other == value);
            *value = if same { SAME } else { differs }.into();
        }
    }
}

fn text(object: Option<&Value>) -> String {
    let Some(object) = object else {
        return String::new();
    };
    let options = serde_saphyr::ser_options! { min_fold_chars: usize::MAX };
    let mut yaml = String::new();
    match serde_saphyr::to_fmt_writer_with_options(&mut yaml, &Ordered(object), options) {
        Ok(()) => yaml,
        // JSON is YAML.
        Err(_) => format!("{object:#}\n"),
    }
}

/// An object with what says which it is before the rest.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];
        let nothing = Map::new();
        let fields = self.0.as_object().unwrap_or(&nothing);
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for key in FIRST {
            if let Some(value) = fields.get(key) {
                map.serialize_entry(key, value)?;
            }
        }
        for (key, value) in fields
            .iter()
            .filter(|(key, _)| !FIRST.contains(&key.as_str()))
        {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// As much of a diff as may be sent, and how much more there is.
fn cut(diff: &str) -> String {
    let mut kept = String::new();
    let mut lines = diff.split_inclusive('\n');
    for line in lines.by_ref() {
        let end = line.floor_char_boundary(LONGEST_LINE);
        // Room for what is said at the end.
        if kept.len() + end + 128 > LARGEST {
            let left = 1 + lines.count();
            kept.push_str(&format!("… {left} more lines\n"));
            return kept;
        }
        kept.push_str(&line[..end]);
        if end < line.len() {
            kept.push_str("…\n");
        }
    }
    kept
}

#[cfg(test)]
mod tests;
