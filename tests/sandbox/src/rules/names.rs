//! Names, namespaces, labels and annotations: what every kind has in common.

use serde_json::Value;

use crate::status::Invalid;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
/// All annotations of an object together.
const MOST_ANNOTATION_BYTES: usize = 256 << 10;

/// Problems with an object's metadata.
pub(crate) fn check_metadata(group: &str, kind: &str, object: &Value) -> Vec<Invalid> {
    let metadata = &object["metadata"];
    let mut out = Vec::new();
    match metadata["name"].as_str() {
        None | Some("") => out.push(Invalid::required(
            "metadata.name",
            "name or generateName is required",
        )),
        Some(name) => {
            if let Some(why) = bad_name(group, kind, name) {
                out.push(Invalid::value("metadata.name", &name.into(), &why));
            }
        }
    }
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        if let Some(why) = bad_key(key) {
            out.push(Invalid::value(
                "metadata.labels",
                &key.as_str().into(),
                &why,
            ));
        }
        if let Some(why) = value.as_str().and_then(bad_value) {
            out.push(Invalid::value("metadata.labels", value, &why));
        }
    }
    let mut bytes = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        if let Some(why) = bad_key(&key.to_lowercase()) {
            out.push(Invalid::value(
                "metadata.annotations",
                &key.as_str().into(),
                &why,
            ));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > MOST_ANNOTATION_BYTES {
        out.push(Invalid::too_long(
            "metadata.annotations",
            MOST_ANNOTATION_BYTES,
        ));
    }
    for (at, owner) in metadata["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        for name in ["apiVersion", "kind", "name", "uid"] {
            if owner[name].as_str().unwrap_or("").is_empty() {
                let why = format!(
                    "{} must not be empty",
                    if name == "apiVersion" {
                        "version"
                    } else {
                        name
                    }
                );
                out.push(Invalid::value(
                    format!("metadata.ownerReferences[{at}].{name}"),
                    &"".into(),
                    &why,
                ));
            }
        }
    }
    out
}

/// A name after the prefix that the client chose.
pub(crate) fn generated_name(prefix: &str, random: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut name = prefix.to_owned();
    let mut rest = random;
    for _ in 0..5 {
        let index = usize::try_from(rest % LETTERS.len() as u64).unwrap_or(0);
        name.push(char::from(LETTERS[index]));
        rest /= LETTERS.len() as u64;
    }
    name
}

fn bad_name(group: &str, kind: &str, name: &str) -> Option<String> {
    match (group, kind) {
        // Their names are path segments and nothing more.
        ("rbac.authorization.k8s.io", _) => {
            if name == "." || name == ".." {
                return Some(format!("may not be '{name}'"));
            }
            let bad = name.chars().find(|c| matches!(c, '/' | '%'))?;
            Some(format!("may not contain '{bad}'"))
        }
        ("", "Namespace") => (!is_label(name, 63)).then(|| LABEL.to_owned()),
        ("", "Service") => {
            let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
            (!(starts && is_label(name, 63))).then(|| LABEL_1035.to_owned())
        }
        _ if name.len() > 253 => Some("must be no more than 253 bytes".to_owned()),
        _ => (!name.split('.').all(|part| is_label(part, 253))).then(|| SUBDOMAIN.to_owned()),
    }
}

fn is_label(text: &str, most: usize) -> bool {
    let ends = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    text.len() <= most
        && ends(bytes.first().copied())
        && ends(bytes.last().copied())
        && bytes
            .iter()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

fn is_word(text: &str) -> bool {
    let ends = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let bytes = text.as_bytes();
    ends(bytes.first().copied())
        && ends(bytes.last().copied())
        && bytes
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

fn bad_key(key: &str) -> Option<String> {
    let name = match key.split_once('/') {
        None => key,
        Some(("", _)) => return Some("prefix part must be non-empty".to_owned()),
        Some((prefix, name)) => {
            if !prefix.split('.').all(|part| is_label(part, 253)) {
                return Some(format!("prefix part {SUBDOMAIN}"));
            }
            name
        }
    };
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes".to_owned());
    }
    (!is_word(name)).then(|| KEY.to_owned())
}

fn bad_value(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes".to_owned());
    }
    (!value.is_empty() && !is_word(value)).then(|| VALUE.to_owned())
}
