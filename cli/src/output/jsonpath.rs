//! kubectl's JSONPath templates: text with expressions in braces,
//! `{.items[*].metadata.name}`, `{range .items[*]}…{end}`, `{"\n"}`.
//!
//! The expressions are RFC 9535's, by serde_json_path; what is added here is
//! the template around them, kubectl's optional `$`, and its `\.` in keys.
//! See <https://kubernetes.io/docs/reference/kubectl/jsonpath/>.

use std::str::FromStr;

use serde_json::Value;
use serde_json_path::JsonPath;

#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Query(JsonPath),
    Range(JsonPath, Vec<Part>),
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `-o jsonpath=.metadata.name` without braces, as kubectl takes it.
        let relaxed = !text.contains('{') && text.starts_with(['.', '[', '$']);
        let text = if relaxed {
            format!("{{{text}}}")
        } else {
            text.to_owned()
        };
        let mut rest = text.as_str();
        let parts = parse(&mut rest, false)?;
        Ok(Self(parts))
    }
}

/// Reads up to the end, or in a range up to its `{end}`.
fn parse(rest: &mut &str, in_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    while let Some(open) = rest.find('{') {
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let body = &rest[open + 1..];
        let close = closing_brace(body).ok_or("jsonpath: a '{' is not closed")?;
        let expression = body[..close].trim();
        *rest = &body[close + 1..];
        if expression == "end" {
            return if in_range {
                Ok(parts)
            } else {
                Err("jsonpath: {end} without {range}".into())
            };
        }
        if let Some(list) = expression.strip_prefix("range ") {
            parts.push(Part::Range(query(list)?, parse(rest, true)?));
        } else if expression.starts_with(['"', '\'']) {
            parts.push(Part::Text(unquote(expression)?));
        } else {
            parts.push(Part::Query(query(expression)?));
        }
    }
    if in_range {
        return Err("jsonpath: {range} without {end}".into());
    }
    if !rest.is_empty() {
        parts.push(Part::Text((*rest).to_owned()));
        *rest = "";
    }
    Ok(parts)
}

/// Where the expression ends: a brace in quotes does not close it.
fn closing_brace(body: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (None, '}') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), _) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

fn unquote(text: &str) -> Result<String, String> {
    let quote = &text[..1];
    let inner = text
        .strip_prefix(quote)
        .and_then(|t| t.strip_suffix(quote))
        .filter(|_| text.len() > 1)
        .ok_or_else(|| format!("jsonpath: {text} is not closed"))?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => return Err(format!("jsonpath: {text} ends in a backslash")),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

fn query(expression: &str) -> Result<JsonPath, String> {
    let expression = expression.trim();
    let dotted = expression.trim_start_matches(['$', '@']);
    let rooted = match dotted.chars().next() {
        None => "$".to_owned(),
        Some('.' | '[') => format!("${dotted}"),
        Some(_) => format!("$.{dotted}"),
    };
    let path = quote_keys(&rooted);
    JsonPath::parse(&path).map_err(|e| format!("jsonpath: {expression}: {e}"))
}

/// `.labels.app\.kubernetes\.io/name` becomes `.labels['app.kubernetes.io/name']`;
/// keys that RFC 9535 knows as they stand, stay.
fn quote_keys(path: &str) -> String {
    let mut out = String::new();
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '[' => {
                let mut depth = 1;
                out.push(c);
                while depth > 0 {
                    let Some(inner) = chars.next() else { break };
                    depth += i32::from(inner == '[') - i32::from(inner == ']');
                    out.push(inner);
                }
            }
            '.' => {
                if chars.next_if_eq(&'.').is_some() {
                    out.push('.');
                }
                let mut key = String::new();
                while let Some(k) = chars.next_if(|&k| k != '.' && k != '[') {
                    match k {
                        '\\' => key.extend(chars.next()),
                        k => key.push(k),
                    }
                }
                let plain = key
                    .chars()
                    .all(|k| k.is_alphanumeric() || k == '_' || k == '*');
                if plain {
                    if !key.is_empty() {
                        out.push('.');
                    }
                    out.push_str(&key);
                } else {
                    out.push_str(&format!("['{}']", key.replace('\'', "\\'")));
                }
            }
            c => out.push(c),
        }
    }
    out
}

impl Template {
    /// # Errors
    /// When an expression finds nothing, as kubectl does for a missing key.
    pub fn render(&self, value: &Value) -> anyhow::Result<String> {
        let mut out = String::new();
        write(&self.0, value, &mut out);
        Ok(out)
    }
}

fn write(parts: &[Part], value: &Value, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Query(path) => {
                let found: Vec<_> = path.query(value).all().into_iter().map(plain).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(path, inner) => {
                for item in path.query(value) {
                    write(inner, item, out);
                }
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_read_as_kubectls() {
        let value = json!({"items": [
            {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}}, "n": 1},
            {"metadata": {"name": "b", "labels": {}}, "n": 2},
        ]});
        for (template, expected) in [
            ("{.items[*].metadata.name}", "a b"),
            (".items[0].n", "1"),
            ("{$.items[1].metadata['name']}", "b"),
            (
                "{range .items[*]}{.metadata.name}={.n}{\"\\n\"}{end}",
                "a=1\nb=2\n",
            ),
            ("n: {.items[-1:].n}!", "n: 2!"),
            (r"{.items[0].metadata.labels.app\.kubernetes\.io/name}", "x"),
            ("{.items[?(@.n==2)].metadata.name}", "b"),
            ("{..name}", "a b"),
            ("{.missing}", ""),
            ("{'}'}", "}"),
        ] {
            let parsed: Template = template
                .parse()
                .unwrap_or_else(|e| panic!("{template}: {e}"));
            assert_eq!(parsed.render(&value).unwrap(), expected, "{template}");
        }
        for bad in ["{.a", "{end}", "{range .a}", "{\"a}", "{.a[}"] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
    }
}
