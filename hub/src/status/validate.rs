//! What a resource must be before the hub takes it, judged by itself. What it
//! names beyond itself is judged against the fleet, in `apply`.

mod assignment;
mod health;
mod sync;

use lockstep_proto::names::check_label;
use lockstep_proto::v1::resource::Resource as Any;
use lockstep_proto::v1::{self, kind::Name as Kind, label_selector_requirement::Operator};

use super::labels::{check_key, check_value};

/// A day: longer is more likely a mistake than a wish, and "0" turns it off.
const MAX_POLL_SECONDS: u64 = 24 * 3600;
/// A remote is not asked more often than this, whoever writes the spec.
const MIN_POLL_SECONDS: u64 = 1;
const MAX_TEXT: usize = 4096;
const MAX_CA_BUNDLE: usize = 1 << 20;
const MAX_LABELS: usize = 64;
const MAX_ANNOTATIONS: usize = 256 << 10;
const MAX_EXPRESSIONS: usize = 64;
const MAX_VALUES: usize = 256;

/// Where the hub draws a line that a spec may not cross.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub allow_file: bool,
}

/// Problems of one resource, each with the path it is at.
pub(super) struct Problems {
    subject: String,
    found: Vec<String>,
}

impl Problems {
    fn new(kind: Kind, name: &str) -> Self {
        Self {
            subject: format!("{} {name}", kind.as_str_name()),
            found: Vec::new(),
        }
    }

    fn at(&mut self, path: &str, cause: impl std::fmt::Display) {
        self.found
            .push(format!("{}: {path}: {cause}", self.subject));
    }
}

/// Kind and name of a resource, once it is one that people may apply.
pub(super) fn identify(resource: &v1::Resource) -> Result<(Kind, &str), String> {
    let (kind, meta, written, api_version) = match &resource.resource {
        None => return Err("a resource without a kind".to_owned()),
        Some(Any::Cluster(r)) => (Kind::Cluster, &r.metadata, &r.kind, &r.api_version),
        Some(Any::ClusterGroup(r)) => (Kind::ClusterGroup, &r.metadata, &r.kind, &r.api_version),
        Some(Any::Repository(r)) => (Kind::Repository, &r.metadata, &r.kind, &r.api_version),
        Some(Any::Assignment(r)) => (Kind::Assignment, &r.metadata, &r.kind, &r.api_version),
        Some(Any::JoinToken(_)) => {
            return Err("a JoinToken is not applied: make one with `lockstep token create`".into());
        }
        Some(Any::Credential(_)) => {
            return Err(
                "a Credential is not applied: make one with `lockstep credential create`".into(),
            );
        }
    };
    let word = kind.as_str_name();
    let name = meta
        .as_ref()
        .map(|meta| meta.name.as_str())
        .unwrap_or_default();
    if name.is_empty() {
        return Err(format!("{word}: metadata.name: is missing"));
    }
    check_label(name).map_err(|error| format!("{word}: metadata.name: {error}"))?;
    if !written.is_empty() && written != word {
        return Err(format!("{word} {name}: kind: is {written:?}"));
    }
    if !api_version.is_empty() && api_version != lockstep_proto::API_VERSION {
        return Err(format!(
            "{word} {name}: apiVersion: {api_version:?} is not known: write {:?}",
            lockstep_proto::API_VERSION
        ));
    }
    Ok((kind, name))
}

/// All that is wrong with a resource by itself.
pub(super) fn check(resource: &v1::Resource, limits: Limits) -> Vec<String> {
    let (kind, name) = match identify(resource) {
        Ok(found) => found,
        Err(problem) => return vec![problem],
    };
    let mut problems = Problems::new(kind, name);
    match resource.resource.as_ref() {
        Some(Any::Cluster(r)) => check_meta(r.metadata.as_ref(), &mut problems),
        Some(Any::ClusterGroup(r)) => {
            check_meta(r.metadata.as_ref(), &mut problems);
            check_group(r.spec.as_ref(), &mut problems);
        }
        Some(Any::Repository(r)) => {
            check_meta(r.metadata.as_ref(), &mut problems);
            check_repository(r.spec.as_ref(), limits, &mut problems);
        }
        Some(Any::Assignment(r)) => {
            check_meta(r.metadata.as_ref(), &mut problems);
            assignment::check(r.spec.as_ref(), &mut problems);
        }
        Some(Any::JoinToken(_) | Any::Credential(_)) | None => {}
    }
    problems.found
}

fn check_meta(meta: Option<&v1::ObjectMeta>, problems: &mut Problems) {
    let Some(meta) = meta else { return };
    if meta.labels.len() > MAX_LABELS {
        problems.at("metadata.labels", format!("more than {MAX_LABELS} labels"));
    }
    for (key, value) in &meta.labels {
        check_label_pair("metadata.labels", key, value, problems);
    }
    let mut bytes = 0;
    for (key, value) in &meta.annotations {
        bytes += key.len() + value.len();
        if let Err(cause) = check_key(key) {
            problems.at("metadata.annotations", cause);
        }
    }
    if bytes > MAX_ANNOTATIONS {
        problems.at("metadata.annotations", "larger than 256 KiB together");
    }
}

/// Checks labels by the rules of Kubernetes.
///
/// # Errors
/// In words, naming the key.
pub fn check_labels<'a>(
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), String> {
    for (key, value) in labels {
        check_key(key)?;
        check_value(value).map_err(|cause| format!("{key}: {cause}"))?;
    }
    Ok(())
}

fn check_label_pair(path: &str, key: &str, value: &str, problems: &mut Problems) {
    if let Err(cause) = check_key(key) {
        problems.at(path, cause);
    } else if let Err(cause) = check_value(value) {
        problems.at(&format!("{path}.{key}"), cause);
    }
}

fn check_group(spec: Option<&v1::ClusterGroupSpec>, problems: &mut Problems) {
    let Some(selector) = spec.and_then(|spec| spec.selector.as_ref()) else {
        return problems.at(
            "spec.selector",
            "is missing: say which clusters it selects, or {} for all of them",
        );
    };
    for (key, value) in &selector.match_labels {
        check_label_pair("spec.selector.matchLabels", key, value, problems);
    }
    if selector.match_labels.len() + selector.match_expressions.len() > MAX_EXPRESSIONS {
        problems.at(
            "spec.selector",
            format!("more than {MAX_EXPRESSIONS} requirements"),
        );
    }
    for (at, expression) in selector.match_expressions.iter().enumerate() {
        let path = format!("spec.selector.matchExpressions[{at}]");
        if let Err(cause) = check_key(&expression.key) {
            problems.at(&format!("{path}.key"), cause);
        }
        let values = &expression.values;
        match Operator::try_from(expression.operator) {
            Ok(Operator::In | Operator::NotIn) if values.is_empty() => problems.at(
                &format!("{path}.values"),
                "is empty: In and NotIn need one value at least",
            ),
            Ok(Operator::Exists | Operator::DoesNotExist) if !values.is_empty() => problems.at(
                &format!("{path}.values"),
                "must be empty: Exists and DoesNotExist take no values",
            ),
            Ok(Operator::Unspecified) | Err(_) => problems.at(
                &format!("{path}.operator"),
                "is missing: write In, NotIn, Exists or DoesNotExist",
            ),
            Ok(_) => {}
        }
        if values.len() > MAX_VALUES {
            problems.at(
                &format!("{path}.values"),
                format!("more than {MAX_VALUES} values"),
            );
        }
        for (index, value) in values.iter().enumerate() {
            if let Err(cause) = check_value(value) {
                problems.at(&format!("{path}.values[{index}]"), cause);
            }
        }
    }
}

fn check_repository(spec: Option<&v1::RepositorySpec>, limits: Limits, problems: &mut Problems) {
    let Some(spec) = spec else {
        return problems.at("spec.url", "is missing");
    };
    if let Err(cause) = check_url(&spec.url, limits) {
        problems.at("spec.url", cause);
    }
    match poll_seconds(&spec.poll) {
        Err(cause) => problems.at("spec.poll", cause),
        Ok(Some(seconds)) if !(MIN_POLL_SECONDS..=MAX_POLL_SECONDS).contains(&seconds) => problems
            .at(
                "spec.poll",
                format!("{:?} is not between 1s and 24h", spec.poll),
            ),
        Ok(_) => {}
    }
    for (path, name) in [
        ("spec.credential", &spec.credential),
        ("spec.webhookSecret", &spec.webhook_secret),
    ] {
        if !name.is_empty()
            && let Err(cause) = check_label(name)
        {
            problems.at(path, cause);
        }
    }
    if let Err(cause) = check_ca_bundle(&spec.ca_bundle) {
        problems.at("spec.caBundle", cause);
    }
}

fn check_url(text: &str, limits: Limits) -> Result<(), String> {
    if text.is_empty() {
        return Err("is missing".to_owned());
    }
    if text.len() > MAX_TEXT {
        return Err(format!("is longer than {MAX_TEXT} bytes"));
    }
    // The text is not repeated in these errors: it may hold a password.
    let url = url::Url::parse(text).map_err(|error| {
        format!("is not a URL ({error}): write it like https://git.example.com/shop.git")
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "holds a user name or password: make a credential with `lockstep credential create` \
             and name it in spec.credential"
                .to_owned(),
        );
    }
    if url.query().is_some() {
        return Err("has a query (?…): a secret in it would be shown to everybody".to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a fragment (#…): name the branch in the Assignment's ref".to_owned());
    }
    match url.scheme() {
        "https" | "http" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(()),
        "https" | "http" => Err("names no host".to_owned()),
        "file" if limits.allow_file && url.host_str().is_none() => Ok(()),
        "file" if limits.allow_file => Err("a file URL names no host: file:///path".to_owned()),
        "file" => Err(
            "this hub does not read file URLs: it has to be started with \
             --allow-file-repositories"
                .to_owned(),
        ),
        other => Err(format!(
            "scheme {other:?} is not supported: use https or http"
        )),
    }
}

fn check_ca_bundle(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    if text.len() > MAX_CA_BUNDLE {
        return Err("is larger than 1 MiB".to_owned());
    }
    use rustls_pki_types::pem::PemObject as _;
    let mut count = 0;
    for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(text.as_bytes()) {
        certificate.map_err(|error| format!("is not PEM: {error}"))?;
        count += 1;
    }
    if count == 0 {
        return Err("holds no PEM certificate (-----BEGIN CERTIFICATE-----)".to_owned());
    }
    Ok(())
}

/// Seconds between polls: "30s", "5m", "1h30m". None where polling is off
/// ("0"), and the default of a minute where nothing is written.
///
/// # Errors
/// In words, where the text is no such duration.
pub fn poll_seconds(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(Some(60));
    }
    if text == "0" || text == "0s" {
        return Ok(None);
    }
    let bad = || {
        format!(
            "{text:?} is not a duration: write it like 30s, 5m or 1h30m, or 0 to turn polling off"
        )
    };
    let mut total = 0_u64;
    let mut rest = text;
    let mut largest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit = match rest.as_bytes()[digits] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(bad()),
        };
        if unit >= largest {
            return Err(bad());
        }
        largest = unit;
        total = number
            .checked_mul(unit)
            .and_then(|seconds| total.checked_add(seconds))
            .ok_or_else(bad)?;
        rest = &rest[digits + 1..];
    }
    Ok((total > 0).then_some(total))
}
