//! Files to a Bundle: the manifests of a folder, as canonical objects.
//!
//! Pure: equal manifests give equal bytes, in whatever order or file they
//! stand. A folder with anything wrong in it renders to nothing but problems,
//! so that half of it is never applied, and an empty one never empties a
//! cluster. This renderer reads plain YAML and JSON as `kubectl apply -R -f`
//! does; see `yaml` and `object` for the rules.

mod error;
mod json;
mod object;
mod scalar;
mod yaml;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use lockstep_proto::Digest;
use lockstep_proto::bundle::{IndexEntry, ObjectKey, bundle_digest};
use serde_json::Value;

pub use error::{Place, Problem, RenderError};

use crate::git::{SourceFile, SourceTree};

/// Goes into the key under which renders are remembered: another renderer, or
/// another version of this one, may give other objects for the same files.
pub const RENDERER: &str = "plain/2";

/// Bytes of one object as canonical JSON: what etcd takes in one request.
const MAX_OBJECT: usize = 3 << 19;
/// Bytes of all objects of a Bundle.
const MAX_TOTAL: usize = 64 << 20;
/// Objects of a Bundle.
const MAX_OBJECTS: usize = 20_000;
/// Problems that one render reports; a person mends those first.
const MAX_PROBLEMS: usize = 10;

/// A Bundle with its contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    pub digest: Digest,
    /// Sorted by key.
    pub objects: Vec<RenderedObject>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct RenderedObject {
    pub entry: IndexEntry,
    /// Canonical JSON.
    pub json: Bytes,
}

impl std::fmt::Debug for Rendered {
    /// Objects may be Secrets: says how many there are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} objects)", self.digest, self.objects.len())
    }
}

impl std::fmt::Debug for RenderedObject {
    /// Objects may be Secrets: says which one it is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.entry.key, self.entry.sha256)
    }
}

/// Whether the renderer looks into the file at `path`, relative to the folder.
#[must_use]
pub fn wants(path: &str) -> bool {
    if path.split('/').any(|name| name.starts_with('.')) {
        return false;
    }
    let name = file_name(path);
    name != "lockstep.yaml" && (is_manifest(name) || foreign(name).is_some())
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|extension| name.ends_with(extension))
}

/// What a file says about the folder around it when that is not plain manifests.
fn foreign(name: &str) -> Option<&'static str> {
    match name {
        "kustomization.yaml" | "kustomization.yml" | "Kustomization" => Some(
            "this is a Kustomize folder, which this version does not render; \
             commit the output of `kustomize build`, or point the assignment's path elsewhere",
        ),
        "Chart.yaml" => Some(
            "this is a Helm chart, which this version does not render; \
             commit the output of `helm template`, or point the assignment's path elsewhere",
        ),
        _ => None,
    }
}

/// The Bundle of the manifests in `tree`.
///
/// # Errors
/// The first problems found, each with its file and line.
pub fn render(tree: &SourceTree) -> Result<Rendered, RenderError> {
    let mut files: Vec<_> = tree.files.iter().filter(|f| wants(&f.path)).collect();
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut render = Render::default();
    for file in &files {
        if let Some(cause) = foreign(file_name(&file.path)) {
            render.problem(&file.path, 0, cause.to_owned());
        }
    }
    // Templates are not YAML: what else is wrong with such a folder is noise.
    if render.problems.is_empty() {
        for file in files {
            render.file(file);
            if render.full() {
                break;
            }
        }
    }
    render.finish()
}

#[derive(Default)]
struct Render<'a> {
    objects: Vec<RenderedObject>,
    bytes: usize,
    seen: HashMap<Identity, Spot<'a>>,
    problems: Vec<Problem>,
    more: bool,
}

/// What the API server takes for the same object: its version is not part of it.
type Identity = (String, String, String, String);

/// A [`Place`] that borrows.
#[derive(Clone, Copy)]
struct Spot<'a> {
    file: &'a str,
    line: usize,
}

impl From<Spot<'_>> for Place {
    fn from(spot: Spot<'_>) -> Self {
        Self {
            file: spot.file.to_owned(),
            line: spot.line,
        }
    }
}

impl<'a> Render<'a> {
    fn file(&mut self, file: &'a SourceFile) {
        let path = file.path.as_str();
        let text = match text_of(&file.content) {
            Ok(text) => text,
            Err(cause) => return self.problem(path, 0, cause.to_owned()),
        };
        if text.starts_with("version https://git-lfs.github.com/spec/") {
            let cause = "a Git LFS pointer instead of the file itself; LFS is not supported here";
            return self.problem(path, 0, cause.to_owned());
        }
        let each = |document: Document| {
            self.document(path, document);
            !self.full()
        };
        if path.ends_with(".json") {
            json::documents(&text, each);
        } else {
            yaml::documents(&text, each);
        }
    }

    fn document(&mut self, file: &'a str, document: Document) {
        match document.content {
            Err(cause) => self.problem(file, document.line, cause),
            Ok(Value::Null) => {}
            Ok(value) => {
                let source = object::Source {
                    line: document.line,
                    item_lines: &document.item_lines,
                };
                object::unfold(value, &source, &mut |line, object| match object {
                    Ok((key, json)) => self.object(Spot { file, line }, key, json),
                    Err(cause) => self.problem(file, line, cause),
                });
            }
        }
    }

    fn object(&mut self, place: Spot<'a>, key: ObjectKey, json: Vec<u8>) {
        let Spot { file, line } = place;
        if json.len() > MAX_OBJECT {
            let size = json.len();
            return self.problem(
                file,
                line,
                format!("{key}: {size} bytes; Kubernetes takes {MAX_OBJECT} at most"),
            );
        }
        self.bytes += json.len();
        if self.bytes > MAX_TOTAL {
            self.problem(
                file,
                line,
                format!("the objects up to here have more than {MAX_TOTAL} bytes; split the folder into several assignments"),
            );
            self.more = true;
            return;
        }
        if self.objects.len() == MAX_OBJECTS {
            self.problem(
                file,
                line,
                format!("the folder holds more than {MAX_OBJECTS} objects; split it into several assignments"),
            );
            self.more = true;
            return;
        }
        let identity = (
            key.group().to_owned(),
            key.kind.clone(),
            key.namespace.clone(),
            key.name.clone(),
        );
        if let Some(first) = self.seen.get(&identity).copied() {
            return self.add(Problem {
                place: place.into(),
                cause: format!("{key} stands here a second time, first at"),
                other: Some(first.into()),
            });
        }
        self.seen.insert(identity, place);
        self.objects.push(RenderedObject {
            entry: IndexEntry {
                key,
                sha256: Digest::of(&json),
            },
            json: Bytes::from(json),
        });
    }

    fn problem(&mut self, file: &str, line: usize, cause: String) {
        self.add(Problem {
            place: Spot { file, line }.into(),
            cause,
            other: None,
        });
    }

    fn add(&mut self, problem: Problem) {
        if self.problems.len() == MAX_PROBLEMS {
            self.more = true;
        } else {
            self.problems.push(problem);
        }
    }

    /// Nothing that follows would be reported.
    fn full(&self) -> bool {
        self.more
    }

    fn finish(mut self) -> Result<Rendered, RenderError> {
        if self.problems.is_empty() && self.objects.is_empty() {
            self.problem(
                "",
                0,
                "the folder holds no Kubernetes objects: no .yaml, .yml or .json file in it defines one. \
                 To remove everything from the clusters, delete the assignment"
                    .to_owned(),
            );
        }
        if !self.problems.is_empty() {
            return Err(RenderError {
                problems: self.problems,
                more: self.more,
            });
        }
        self.objects
            .sort_unstable_by(|a, b| a.entry.key.cmp(&b.entry.key));
        Ok(Rendered {
            digest: bundle_digest(self.objects.iter().map(|object| &object.entry)),
            objects: self.objects,
        })
    }
}

/// One document of a file.
struct Document {
    /// Where it starts, or where it is broken.
    line: usize,
    /// Where the elements of a top-level `items` start.
    item_lines: Vec<usize>,
    content: Result<Value, String>,
}

impl Document {
    fn broken(line: usize, cause: impl Into<String>) -> Self {
        Self {
            line,
            item_lines: Vec::new(),
            content: Err(cause.into()),
        }
    }
}

/// The text of a file, without a byte order mark.
fn text_of(bytes: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    const ENCODING: &str = "not a text file: the encoding is neither UTF-8 nor UTF-16";
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        if !rest.is_empty() {
            return Err(ENCODING);
        }
        char::decode_utf16(pairs.iter().map(|pair| unit(*pair)))
            .collect::<Result<String, _>>()
            .map(Cow::Owned)
            .map_err(|_| ENCODING)
    };
    match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok(Cow::Borrowed(
            std::str::from_utf8(rest).map_err(|_| ENCODING)?,
        )),
        _ => Ok(Cow::Borrowed(
            std::str::from_utf8(bytes).map_err(|_| ENCODING)?,
        )),
    }
}
