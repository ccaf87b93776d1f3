//! The YAML form of resources: what a person writes, read into the messages.
//!
//! A file holds one or many documents. Every error names the document, its
//! line and the path of the field: `fleet.yaml: document 2, line 9:
//! spec.sync.prnue: unknown field`. All documents are looked at, so that a
//! person sees all that is wrong at once.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::v1::{
    Assignment, Cluster, ClusterGroup, Credential, JoinToken, Repository, Resource, kind,
    resource::Resource as Is,
};
use crate::{API_VERSION, v1};

/// More than any file a person writes, less than what hurts to parse.
const MAX_FILE: usize = 16 << 20;

/// What is wrong with one document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The file, as the person named it; `-` is standard input.
    pub source_name: String,
    /// From 1.
    pub document: usize,
    /// From 1, in the file.
    pub line: u64,
    /// `spec.sync.prune`; empty for the document as a whole.
    pub path: String,
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source_name,
            document,
            line,
            path,
            message,
        } = self;
        write!(f, "{source_name}: document {document}, line {line}: ")?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

/// Reads all resources of a file. Empty documents are passed over.
///
/// # Errors
/// One for each document that is not a resource of this API.
pub fn parse(source_name: &str, text: &str) -> Result<Vec<Resource>, Vec<ManifestError>> {
    let mut resources = Vec::new();
    let mut errors = Vec::new();
    if text.len() > MAX_FILE {
        return Err(vec![ManifestError {
            source_name: source_name.to_owned(),
            document: 1,
            line: 1,
            path: String::new(),
            message: format!("larger than {} MiB", MAX_FILE >> 20),
        }]);
    }
    let documents = split(text.strip_prefix('\u{feff}').unwrap_or(text));
    for (index, (offset, document)) in documents.into_iter().enumerate() {
        match read_document(&document) {
            Ok(None) => {}
            Ok(Some(resource)) => resources.push(resource),
            Err(Flaw {
                line,
                path,
                message,
            }) => errors.push(ManifestError {
                source_name: source_name.to_owned(),
                document: index + 1,
                line: offset + line.max(1),
                path,
                message,
            }),
        }
    }
    if errors.is_empty() {
        Ok(resources)
    } else {
        Err(errors)
    }
}

/// Cuts a stream at its `---` lines. YAML forbids them at the start of a line
/// anywhere else, block scalars included, so no parser is needed. Each document
/// comes with the number of lines before it.
fn split(text: &str) -> Vec<(u64, String)> {
    let mut documents = vec![(0, String::new())];
    for (number, line) in (0..).zip(text.split_inclusive('\n')) {
        let marker = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        match marker {
            Some(rest) => documents.push((number, format!("   {rest}"))),
            None => {
                if let Some((_, document)) = documents.last_mut() {
                    document.push_str(line);
                }
            }
        }
    }
    if is_blank(&documents[0].1) && documents.len() > 1 {
        documents.remove(0);
    }
    documents
}

fn is_blank(document: &str) -> bool {
    document
        .lines()
        .all(|line| matches!(line.trim_start().bytes().next(), None | Some(b'#')))
}

struct Flaw {
    line: u64,
    path: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: Option<String>,
    kind: Option<String>,
}

fn read_document(document: &str) -> Result<Option<Resource>, Flaw> {
    if is_blank(document) {
        return Ok(None);
    }
    let header: Header = read(document)?;
    let whole = |path: &str, message: String| Flaw {
        line: 1,
        path: path.to_owned(),
        message,
    };
    match header.api_version.as_deref() {
        Some(API_VERSION) => {}
        Some(other) => {
            return Err(whole(
                "apiVersion",
                format!("{other:?} is not known here, expected {API_VERSION:?}"),
            ));
        }
        None => {
            return Err(whole(
                "apiVersion",
                format!("missing, expected {API_VERSION:?}"),
            ));
        }
    }
    let Some(kind) = header.kind else {
        return Err(whole(
            "kind",
            "missing, expected Repository, ClusterGroup, Assignment or Cluster".into(),
        ));
    };
    let resource = match kind.as_str() {
        "Cluster" => Is::Cluster(read(document)?),
        "ClusterGroup" => Is::ClusterGroup(read(document)?),
        "Repository" => Is::Repository(read(document)?),
        "Assignment" => Is::Assignment(read(document)?),
        other => {
            return Err(whole(
                "kind",
                format!(
                    "{other:?} is not known, expected Repository, ClusterGroup, Assignment or Cluster"
                ),
            ));
        }
    };
    let resource = Resource {
        resource: Some(resource),
    };
    if resource.metadata().is_none_or(|m| m.name.is_empty()) {
        return Err(whole("metadata.name", "missing".into()));
    }
    Ok(Some(resource))
}

fn read<T: DeserializeOwned>(document: &str) -> Result<T, Flaw> {
    let mut path = String::new();
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::with_deserializer_from_str_with_options(document, options, |de| {
        serde_path_to_error::deserialize(de).map_err(|error| {
            path = match error.path().to_string() {
                root if root == "." => String::new(),
                path => path,
            };
            error.into_inner()
        })
    })
    .map_err(|error| {
        let line = error.location().map_or(1, |l| l.line());
        let message = error.without_snippet().to_string();
        Flaw {
            line,
            path: path.clone(),
            message: plain_words(&message),
        }
    })
}

/// Says `unknown field "prnue", expected one of …` without the location that
/// the parser adds (the caller says where) and without the second spelling
/// that proto JSON allows for every field.
fn plain_words(message: &str) -> String {
    let cut = message.find(" at line ").unwrap_or(message.len());
    let message = message[..cut].replace('`', "\"");
    match message.split_once("expected one of ") {
        Some((what, names)) => {
            let names: Vec<_> = names.split(", ").filter(|n| !n.contains('_')).collect();
            format!("{what}expected one of {}", names.join(", "))
        }
        None => message,
    }
}

impl v1::Resource {
    /// The metadata of whichever resource this is.
    #[must_use]
    pub fn metadata(&self) -> Option<&v1::ObjectMeta> {
        match self.resource.as_ref()? {
            Is::Cluster(Cluster { metadata, .. })
            | Is::ClusterGroup(ClusterGroup { metadata, .. })
            | Is::Repository(Repository { metadata, .. })
            | Is::Assignment(Assignment { metadata, .. })
            | Is::JoinToken(JoinToken { metadata, .. })
            | Is::Credential(Credential { metadata, .. }) => metadata.as_ref(),
        }
    }

    /// The resource's name, empty where it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata().map_or("", |m| &m.name)
    }

    #[must_use]
    pub fn kind(&self) -> kind::Name {
        match &self.resource {
            None => kind::Name::Unspecified,
            Some(Is::Cluster(_)) => kind::Name::Cluster,
            Some(Is::ClusterGroup(_)) => kind::Name::ClusterGroup,
            Some(Is::Repository(_)) => kind::Name::Repository,
            Some(Is::Assignment(_)) => kind::Name::Assignment,
            Some(Is::JoinToken(_)) => kind::Name::JoinToken,
            Some(Is::Credential(_)) => kind::Name::Credential,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHOP: &str = "\
# a fleet
---
apiVersion: lockstep.dev/v1alpha1
kind: Repository
metadata: {name: shop}
spec:
  url: https://git.example.com/shop.git
  poll: 0
---
apiVersion: lockstep.dev/v1alpha1
kind: ClusterGroup
metadata: {name: prod}
spec:
  selector:
    matchLabels: {env: prod, release: 1.10}
    matchExpressions: [{key: region, operator: In, values: [eu, us]}]
--- # the last one
apiVersion: lockstep.dev/v1alpha1
kind: Assignment
metadata: {name: shop}
spec:
  repository: shop
  ref: {branch: main}
  path: deploy
  clusterGroups: [prod]
  sync: {prune: false, maxPrune: 20%}
";

    fn errors(text: &str) -> Vec<String> {
        parse("f.yaml", text)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_examples_of_the_surface_are_read() {
        let all = parse("f.yaml", SHOP).unwrap();
        let names: Vec<_> = all.iter().map(|r| (r.kind(), r.name())).collect();
        assert_eq!(
            names,
            [
                (kind::Name::Repository, "shop"),
                (kind::Name::ClusterGroup, "prod"),
                (kind::Name::Assignment, "shop")
            ]
        );
        let Some(Is::Repository(repository)) = &all[0].resource else {
            panic!()
        };
        assert_eq!(repository.spec.as_ref().unwrap().poll, "0");
        let Some(Is::ClusterGroup(group)) = &all[1].resource else {
            panic!()
        };
        let selector = group.spec.clone().unwrap().selector.unwrap();
        assert_eq!(selector.match_labels["release"], "1.10");
        assert_eq!(parse("f.yaml", &SHOP.replace('\n', "\r\n")).unwrap(), all);
    }

    #[test]
    fn what_is_written_as_json_is_read_again() {
        let all = parse("f.yaml", SHOP).unwrap();
        let Some(Is::Assignment(assignment)) = &all[2].resource else {
            panic!()
        };
        let json = serde_json::to_string(assignment).unwrap();
        assert_eq!(parse("-", &json).unwrap()[0], all[2]);
    }

    #[test]
    fn an_unknown_field_is_an_error_with_its_path() {
        let text = SHOP.replace("prune: false", "prnue: false");
        let all = errors(&text);
        assert_eq!(all.len(), 1);
        assert!(
            all[0].starts_with("f.yaml: document 3, line 26: spec.sync.prnue: unknown field"),
            "{all:?}"
        );
    }

    #[test]
    fn every_broken_document_is_named() {
        let all = errors(
            "apiVersion: lockstep.dev/v1alpha1\nkind: Shop\n---\nkind: Cluster\n---\n\
             apiVersion: lockstep.dev/v1alpha1\nkind: Cluster\nmetadata: {labels: [a]}\n---\n\
             apiVersion: lockstep.dev/v1alpha1\nkind: Cluster\nmetadata: {}\n---\n- a\n---\na: [\n",
        );
        assert_eq!(all.len(), 6, "{all:#?}");
        assert!(all[0].contains("kind: \"Shop\" is not known"), "{all:#?}");
        assert!(all[1].contains("document 2") && all[1].contains("apiVersion: missing"));
        assert!(all[2].contains("line 8: metadata.labels: "), "{all:#?}");
        assert!(all[3].contains("metadata.name: missing"), "{all:#?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(---|apiVersion|[a-z:\\-{}\\[\\]&*!|>'\" \n]){0,60}") {
            let _ = parse("f.yaml", &text);
        }
    }
}
