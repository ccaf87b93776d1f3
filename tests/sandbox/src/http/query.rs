//! Query parameters.

use std::collections::HashMap;

use serde_json::Value;

use crate::machinery::{Deletion, Options, Validation};
use crate::selector::{Fields, Labels, Selector};
use crate::status::Status;

/// The parameters of one request, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    pub(crate) fn word(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| !matches!(value.as_str(), "false" | "0"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.word(name).parse().ok()
    }

    pub(crate) fn selector(&self) -> Result<Selector, Status> {
        let labels = Labels::parse(self.word("labelSelector")).map_err(Status::bad_request)?;
        let fields = Fields::parse(self.word("fieldSelector")).map_err(Status::bad_request)?;
        Ok(Selector { labels, fields })
    }

    /// The options of a write; the manager is the client's program unless it says otherwise.
    pub(crate) fn options(&self, user_agent: &str, method: &str) -> Result<Options, Status> {
        let manager = match self.word("fieldManager") {
            "" => user_agent
                .split('/')
                .next()
                .unwrap_or("")
                .chars()
                .take(128)
                .collect(),
            name => name.to_owned(),
        };
        let kind = match method {
            "POST" => "CreateOptions",
            "PUT" => "UpdateOptions",
            _ => "PatchOptions",
        };
        let dry_run = self.dry_run(kind)?;
        let validation = match self.word("fieldValidation") {
            "Ignore" => Validation::Ignore,
            "" | "Warn" => Validation::Warn,
            "Strict" => Validation::Strict,
            other => {
                let why = format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                );
                return Err(Status::options(
                    kind,
                    "fieldValidation",
                    "FieldValueNotSupported",
                    &why,
                ));
            }
        };
        Ok(Options {
            manager,
            dry_run,
            force: self.flag("force"),
            validation,
        })
    }

    fn dry_run(&self, kind: &str) -> Result<bool, Status> {
        match self.word("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let why =
                    format!("dryRun: Unsupported value: [{other:?}]: supported values: \"All\"");
                Err(Status::options(
                    kind,
                    "dryRun",
                    "FieldValueNotSupported",
                    &why,
                ))
            }
        }
    }

    /// The options of a deletion, from the body and from here.
    pub(crate) fn deletion(&self, body: &Value) -> Result<Deletion, Status> {
        let mut deletion = Deletion::read(body)?;
        if deletion.propagation.is_none() && self.has("propagationPolicy") {
            deletion.propagation = Deletion::read(
                &serde_json::json!({"propagationPolicy": self.word("propagationPolicy")}),
            )?
            .propagation;
        }
        deletion.dry_run |= self.dry_run("DeleteOptions")?;
        Ok(deletion)
    }
}

/// Undoes percent-encoding; in a query, `+` is a space.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| {
            bytes
                .get(at)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 2;
            }
            (b'+', ..) if plus => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
