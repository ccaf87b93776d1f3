//! `agent.yaml`: what stands in it, and what is wrong with it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::glob::Glob;
use super::{Denied, Lined, PruneCap, Set};
use crate::apply::share::Share;
use crate::cluster::{Rate, ServiceAccount};

/// Nobody writes a larger one.
const LARGEST: u64 = 1 << 20;
/// More is no limit, and less than one in a quarter of an hour is a stop.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=100_000.0;

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {file}: {cause}; nothing is done without knowing what is allowed")]
    Unreadable { file: String, cause: String },
    #[error("{file} line {line}: {path}{message}")]
    Malformed {
        file: String,
        line: u64,
        /// With a colon and a space, or empty.
        path: String,
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Text {
    #[serde(default)]
    allowed_namespaces: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    denied_kinds: Vec<Spanned<String>>,
    #[serde(default)]
    allow_cluster_scoped: Option<Spanned<bool>>,
    #[serde(default)]
    service_account: Option<Spanned<String>>,
    #[serde(default)]
    assignments: BTreeMap<String, OfAssignment>,
    #[serde(default)]
    max_prune: Option<Spanned<String>>,
    #[serde(default)]
    apply_rate: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OfAssignment {
    service_account: Spanned<String>,
}

pub(super) fn read(path: &Path) -> Result<String, FileError> {
    let unreadable = |cause: String| FileError::Unreadable {
        file: path.display().to_string(),
        cause,
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    file.take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > LARGEST {
        return Err(unreadable("it is larger than 1 MiB".into()));
    }
    Ok(text)
}

pub(super) fn parse(file: &str, text: &str) -> Result<Set, FileError> {
    let reader = Reader { file, text };
    let said = reader.read()?;
    let namespaces = said
        .allowed_namespaces
        .map(|list| {
            let globs = list.value.iter().map(|one| reader.namespace(one));
            Ok(Lined {
                line: reader.key_line("allowedNamespaces", &list),
                value: globs.collect::<Result<_, _>>()?,
            })
        })
        .transpose()?;
    let denied = said.denied_kinds.iter().map(|one| reader.denied(one));
    let accounts = said.assignments.into_iter().map(|(name, of)| {
        let path = format!("assignments.{name}.serviceAccount");
        Ok((name, reader.account(&path, &of.service_account)?))
    });
    Ok(Set {
        file: file.into(),
        namespaces,
        denied: denied.collect::<Result<_, _>>()?,
        cluster_scoped: said.allow_cluster_scoped.map(|said| Lined {
            line: line(&said),
            value: said.value,
        }),
        account: said
            .service_account
            .map(|said| reader.account("serviceAccount", &said))
            .transpose()?,
        accounts: accounts.collect::<Result<_, _>>()?,
        prune: said.max_prune.map(|said| reader.share(&said)).transpose()?,
        rate: said.apply_rate.map(|said| reader.rate(&said)).transpose()?,
    })
}

fn line<T>(said: &Spanned<T>) -> u64 {
    said.referenced.line().max(1)
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, line: u64, path: &str, message: String) -> FileError {
        FileError::Malformed {
            file: self.file.to_owned(),
            line,
            path: match path {
                "" => String::new(),
                path => format!("{path}: "),
            },
            message,
        }
    }

    fn read(&self) -> Result<Text, FileError> {
        let content = self.text.lines().map(str::trim_start);
        if content
            .clone()
            .all(|l| l.is_empty() || l.starts_with('#') || l.starts_with("---"))
        {
            let message = "it is empty; write {} where nothing is to be capped".to_owned();
            return Err(self.wrong(1, "", message));
        }
        let mut path = String::new();
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::with_deserializer_from_str_with_options(self.text, options, |de| {
            serde_path_to_error::deserialize(de).map_err(|error| {
                path = error.path().to_string();
                error.into_inner()
            })
        })
        .map_err(|error| {
            let line = error.location().map_or(1, |at| at.line());
            let message = error.without_snippet().to_string();
            let cut = message.find(" at line ").unwrap_or(message.len());
            let path = path.trim_start_matches('.');
            self.wrong(line, path, message[..cut].replace('`', "\""))
        })
    }

    /// Where a list begins by its name: its first element may stand lines below.
    fn key_line<T>(&self, key: &str, list: &Spanned<T>) -> u64 {
        let named = |text: &str| {
            text.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(':'))
        };
        let at = self.text.lines().position(named);
        at.map_or_else(|| line(list), |at| at as u64 + 1)
    }

    fn namespace(&self, said: &Spanned<String>) -> Result<Glob, FileError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-*?".contains(&b);
        if said.value.is_empty() || !said.value.bytes().all(plain) {
            let message = format!(
                "{:?} is no namespace: lower-case letters, digits and '-', with '*' and '?' \
                 for what may be anything",
                said.value
            );
            return Err(self.wrong(line(said), "allowedNamespaces", message));
        }
        Ok(Glob::new(&said.value))
    }

    fn denied(&self, said: &Spanned<String>) -> Result<Lined<Denied>, FileError> {
        let wrong = |message: String| self.wrong(line(said), "deniedKinds", message);
        let (group, kind) = match said.value.split_once('/') {
            Some((group, kind)) => (Some(group), kind),
            None => (None, said.value.as_str()),
        };
        let first = kind.bytes().next().unwrap_or(b' ');
        let named = first.is_ascii_uppercase() || b"*?".contains(&first);
        if !named
            || !kind
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"*?".contains(&b))
        {
            return Err(wrong(format!(
                "{:?} is no kind: write it as manifests do (Secret), or with its group \
                 (rbac.authorization.k8s.io/*, core/Secret)",
                said.value
            )));
        }
        let version = |group: &str| {
            let digits = group.strip_prefix('v').unwrap_or("");
            digits.starts_with(|c: char| c.is_ascii_digit())
        };
        if let Some(group) = group.filter(|group| version(group)) {
            return Err(wrong(format!(
                "{:?} names version {group}, not a group: write {kind}, or core/{kind}",
                said.value
            )));
        }
        let group = group.map(|group| match group {
            "core" => "",
            group => group,
        });
        Ok(Lined {
            line: line(said),
            value: Denied {
                said: said.value.as_str().into(),
                group: group.map(Glob::new),
                kind: Glob::new(kind),
            },
        })
    }

    fn account(&self, path: &str, said: &Spanned<String>) -> Result<ServiceAccount, FileError> {
        ServiceAccount::read(&said.value).ok_or_else(|| {
            let message = format!(
                "{:?} is no service account: expected NAMESPACE/NAME",
                said.value
            );
            self.wrong(line(said), path, message)
        })
    }

    fn share(&self, said: &Spanned<String>) -> Result<PruneCap, FileError> {
        let share = Share::parse(&said.value).ok_or_else(|| {
            let message = format!(
                "{:?} is neither a percentage (20%) nor a number of objects (15)",
                said.value
            );
            self.wrong(line(said), "maxPrune", message)
        })?;
        Ok(PruneCap {
            share,
            said: format!("{} line {}", self.file, line(said)).into(),
        })
    }

    fn rate(&self, said: &Spanned<f64>) -> Result<Arc<Rate>, FileError> {
        if !RATES.contains(&said.value) {
            let message = format!("{} is no number of writes a second", said.value);
            return Err(self.wrong(line(said), "applyRate", message));
        }
        Ok(Arc::new(Rate::new(said.value)))
    }
}
