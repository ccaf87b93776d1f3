//! How an Assignment is kept in step: when, and what of it is whose.

use lockstep_proto::v1;

use super::{MAX_POLL_SECONDS, Problems, poll_seconds};

/// Kinds that hold what cannot be made again, so that they are only pruned
/// where somebody names them.
const PRUNE_KINDS: [&str; 4] = [
    "Namespace",
    "CustomResourceDefinition",
    "PersistentVolume",
    "PersistentVolumeClaim",
];
const MAX_IGNORE: usize = 64;
/// Pointers and managers of one rule.
const MAX_FIELDS: usize = 64;
/// Bytes of a pointer, or of any name in a rule.
const MAX_FIELD: usize = 512;

pub(super) fn check(sync: &v1::SyncPolicy, problems: &mut Problems) {
    if v1::sync_mode::Name::try_from(sync.mode).is_err() {
        problems.at("spec.sync.mode", "is none of Auto and Manual");
    }
    if v1::drift::Policy::try_from(sync.drift).is_err() {
        problems.at("spec.sync.drift", "is none of Correct, Report and Ignore");
    }
    if v1::adopt::Policy::try_from(sync.adopt).is_err() {
        problems.at("spec.sync.adopt", "is none of Never, IfUnowned and Always");
    }
    if let Err(cause) = check_max_prune(&sync.max_prune) {
        problems.at("spec.sync.maxPrune", cause);
    }
    if let Err(cause) = check_timeout(&sync.timeout) {
        problems.at("spec.sync.timeout", cause);
    }
    for (at, kind) in sync.prune_kinds.iter().enumerate() {
        let path = format!("spec.sync.pruneKinds[{at}]");
        if !PRUNE_KINDS.contains(&kind.as_str()) {
            let kinds = PRUNE_KINDS.join(", ");
            problems.at(&path, format!("{kind:?} is none of {kinds}"));
        } else if sync.prune_kinds[..at].contains(kind) {
            problems.at(&path, format!("{kind:?} is named twice"));
        }
    }
    if sync.ignore.len() > MAX_IGNORE {
        problems.at("spec.sync.ignore", format!("more than {MAX_IGNORE} rules"));
    }
    for (at, rule) in sync.ignore.iter().enumerate() {
        check_ignore(&format!("spec.sync.ignore[{at}]"), rule, problems);
    }
}

fn check_ignore(path: &str, rule: &v1::IgnoreRule, problems: &mut Problems) {
    if rule.json_pointers.is_empty() && rule.field_managers.is_empty() {
        problems.at(
            path,
            "names no field: write jsonPointers or fieldManagers, one at least",
        );
    }
    for (field, values) in [
        ("jsonPointers", &rule.json_pointers),
        ("fieldManagers", &rule.field_managers),
    ] {
        if values.len() > MAX_FIELDS {
            problems.at(
                &format!("{path}.{field}"),
                format!("more than {MAX_FIELDS} of them"),
            );
        }
    }
    for (at, pointer) in rule.json_pointers.iter().enumerate() {
        if let Err(cause) = check_pointer(pointer) {
            problems.at(&format!("{path}.jsonPointers[{at}]"), cause);
        }
    }
    for (at, manager) in rule.field_managers.iter().enumerate() {
        let path = format!("{path}.fieldManagers[{at}]");
        if manager.is_empty() {
            problems.at(&path, "is empty");
        } else if manager == "lockstep" {
            problems.at(
                &path,
                "\"lockstep\" owns what Git says: use drift: Ignore to leave all of that alone",
            );
        }
    }
    let named = [
        ("group", &rule.group),
        ("kind", &rule.kind),
        ("namespace", &rule.namespace),
        ("name", &rule.name),
    ];
    let listed = rule
        .field_managers
        .iter()
        .map(|text| ("fieldManagers", text));
    for (field, text) in named.into_iter().chain(listed) {
        if text.len() > MAX_FIELD || text.contains(char::is_control) {
            problems.at(
                &format!("{path}.{field}"),
                format!("is no name, or longer than {MAX_FIELD} bytes"),
            );
        }
    }
}

/// RFC 6901; the empty pointer, the whole object, is none that can be ignored.
fn check_pointer(pointer: &str) -> Result<(), String> {
    if pointer.len() > MAX_FIELD {
        return Err(format!("is longer than {MAX_FIELD} bytes"));
    }
    let bad = |cause: &str| {
        Err(format!(
            "{pointer:?} is not a JSON pointer: {cause}; write it like /spec/replicas"
        ))
    };
    if pointer.len() < 2 || !pointer.starts_with('/') {
        return bad("it begins with / and names a field");
    }
    if pointer.contains(char::is_control) {
        return bad("it holds a control character");
    }
    let mut rest = pointer;
    while let Some(at) = rest.find('~') {
        rest = &rest[at + 1..];
        if !rest.starts_with(['0', '1']) {
            return bad("~ is written ~0, and / within a name ~1");
        }
    }
    Ok(())
}

fn check_timeout(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    match poll_seconds(text) {
        Ok(Some(seconds)) if seconds <= MAX_POLL_SECONDS => Ok(()),
        Ok(_) => Err(format!("{text:?} is not between 1s and 24h")),
        Err(_) => Err(format!(
            "{text:?} is not a duration: write it like 90s, 15m or 1h30m"
        )),
    }
}

fn check_max_prune(text: &str) -> Result<(), String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let number = digits
        .parse::<u32>()
        .ok()
        .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    match number {
        _ if text.is_empty() => Ok(()),
        Some(number) if !text.ends_with('%') || number <= 100 => Ok(()),
        _ => Err(format!(
            "{text:?} is neither a share nor a number of objects: write it like 20% or 15"
        )),
    }
}
