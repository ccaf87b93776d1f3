//! Documents of a YAML file, with the lines at which they start or break.
//!
//! The parser gives events; here they become JSON values as kubectl would make
//! them (see `scalar`), with what a person got wrong refused rather than
//! guessed: a key that stands twice, a key that is not a scalar, an alias that
//! leads nowhere. Aliases are copies, and their sum is bounded, so that no
//! file of a kilobyte becomes gigabytes.

use std::collections::HashMap;

use base64::Engine as _;
use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::Document;
use super::scalar::{Scalar, resolve, to_json, to_key};

/// Maps and lists within each other; JSON readers stop at 128.
const MAX_DEPTH: usize = 100;
/// What aliases may add to one document, in bytes of text and a few more for every node.
const MAX_ALIASED: usize = 4 << 20;
/// What a node costs besides its text.
const NODE: usize = 32;

/// Calls `each` for every document that is not empty, until it returns false.
/// After a broken document the next one is read.
pub(super) fn documents(text: &str, mut each: impl FnMut(Document) -> bool) {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.block_nesting_limit = MAX_DEPTH;
    options.flow_nesting_limit = MAX_DEPTH;
    let mut parser = Parser::new_from_str_with_options(text, options);
    loop {
        let document = match next_document(&mut parser, text) {
            Ok(None) => return,
            Ok(Some(document)) => document,
            Err(broken) => {
                let more = parser.proceed_next_document();
                if !each(Document::broken(broken.line, broken.cause)) || !matches!(more, Ok(true)) {
                    return;
                }
                continue;
            }
        };
        if !each(document) {
            return;
        }
    }
}

struct Broken {
    line: usize,
    cause: String,
}

impl Broken {
    fn syntax(error: &ScanError, text: &str) -> Self {
        let cause = error.info();
        let mut line = error.marker().line().max(1);
        // The parser names the line of the text that a tab would continue.
        if cause.contains("tab") {
            let indented = |l: &str| l.trim_start_matches(' ').starts_with('\t');
            line += text.lines().skip(line - 1).position(indented).unwrap_or(0);
        }
        Self {
            line,
            cause: format!("not valid YAML: {cause}"),
        }
    }
}

fn broken(span: &Span, cause: impl Into<String>) -> Broken {
    Broken {
        line: span.start.line().max(1),
        cause: cause.into(),
    }
}

fn next_document<'t>(
    parser: &mut Parser<'t, StrInput<'t>>,
    text: &str,
) -> Result<Option<Document>, Broken> {
    let mut build: Option<Build> = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| Broken::syntax(&error, text))?;
        match event {
            Event::StreamEnd => return Ok(None),
            Event::DocumentStart(..) => build = Some(Build::default()),
            Event::DocumentEnd => {
                let done = build.take().unwrap_or_default();
                return Ok(Some(Document {
                    line: done.line,
                    item_lines: done.item_lines,
                    content: Ok(done.root.unwrap_or(Value::Null)),
                }));
            }
            event => {
                if let Some(build) = &mut build {
                    build.event(event, &span)?;
                }
            }
        }
    }
    Ok(None)
}

/// A document under construction.
#[derive(Default)]
struct Build {
    /// Where the first node stands.
    line: usize,
    item_lines: Vec<usize>,
    root: Option<Value>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    /// What all nodes so far cost.
    cost: usize,
    aliased: usize,
}

/// A map or list that is not closed yet.
struct Open {
    anchor: usize,
    /// `Build::cost` at its start.
    cost: usize,
    /// Levels below.
    height: usize,
    node: Node,
}

enum Node {
    List(Vec<Value>),
    Map {
        map: Map<String, Value>,
        key: Option<Key>,
        /// Maps to fill in from, `<<`, in the order of their precedence.
        merges: Vec<Map<String, Value>>,
    },
}

enum Key {
    Name(String),
    Merge,
}

struct Anchored {
    value: Value,
    cost: usize,
    height: usize,
}

impl Build {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Broken> {
        if self.line == 0 {
            self.line = span.start.line().max(1);
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.cost += NODE + text.len();
                self.scalar(&text, style, anchor, tag.as_deref(), span)
            }
            Event::SequenceStart(_, anchor, _) => self.start(anchor, Node::List(Vec::new()), span),
            Event::MappingStart(_, anchor, _) => self.start(
                anchor,
                Node::Map {
                    map: Map::new(),
                    key: None,
                    merges: Vec::new(),
                },
                span,
            ),
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    /// Whether the node that comes next is the key of a map.
    fn at_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                node: Node::Map { key: None, .. },
                ..
            })
        )
    }

    fn start(&mut self, anchor: usize, node: Node, span: &Span) -> Result<(), Broken> {
        if self.at_key() {
            return Err(broken(span, "a key must be a text, not a list or a map"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.note_item(span);
        self.open.push(Open {
            anchor,
            cost: self.cost,
            height: 0,
            node,
        });
        self.cost += NODE;
        Ok(())
    }

    fn end(&mut self, span: &Span) -> Result<(), Broken> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.node {
            Node::List(items) => Value::Array(items),
            Node::Map {
                mut map, merges, ..
            } => {
                for merge in merges {
                    for (key, value) in merge {
                        map.entry(key).or_insert(value);
                    }
                }
                Value::Object(map)
            }
        };
        let height = open.height + 1;
        if open.anchor > 0 {
            self.anchors.insert(
                open.anchor,
                Anchored {
                    value: value.clone(),
                    cost: self.cost - open.cost,
                    height,
                },
            );
        }
        self.put(value, height, span)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: &Span,
    ) -> Result<(), Broken> {
        let scalar = meaning(text, style, tag).map_err(|cause| broken(span, cause))?;
        if self.at_key() {
            let merges = style == ScalarStyle::Plain
                && text == "<<"
                && tag.is_none_or(|tag| tag.is_yaml_core_schema_tag("merge"));
            if merges {
                return self.key(Key::Merge, span);
            }
        } else {
            self.note_item(span);
        }
        let json = match &scalar {
            Meaning::Plain(scalar) => to_json(*scalar, text),
            Meaning::Text(text) => Some(Value::String(text.clone())),
        };
        if anchor > 0 {
            let value = json.clone().unwrap_or_default();
            let cost = NODE + text.len();
            self.anchors.insert(
                anchor,
                Anchored {
                    value,
                    cost,
                    height: 0,
                },
            );
        }
        if self.at_key() {
            let name = match scalar {
                Meaning::Plain(scalar) => to_key(scalar, text),
                Meaning::Text(text) => Some(text),
            };
            let name = name.ok_or_else(|| broken(span, "a key must be a text; quote it"))?;
            return self.key(Key::Name(name), span);
        }
        let json = json.ok_or_else(|| broken(span, "a number that JSON cannot hold"))?;
        self.put(json, 0, span)
    }

    fn key(&mut self, next: Key, span: &Span) -> Result<(), Broken> {
        let Some(Open {
            node: Node::Map { map, key, .. },
            ..
        }) = self.open.last_mut()
        else {
            return Ok(());
        };
        if let Key::Name(name) = &next
            && map.contains_key(name)
        {
            return Err(broken(
                span,
                format!("the key {name:?} stands twice in the same map"),
            ));
        }
        *key = Some(next);
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<(), Broken> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(broken(span, "an alias inside of what it stands for"));
        };
        self.aliased += target.cost;
        self.cost += target.cost;
        if self.aliased > MAX_ALIASED {
            return Err(broken(
                span,
                format!("the aliases of this document expand to more than {MAX_ALIASED} bytes"),
            ));
        }
        let (value, height) = (target.value.clone(), target.height);
        if self.at_key() {
            let name = match value {
                Value::String(text) => text,
                Value::Bool(value) => value.to_string(),
                Value::Number(number) if !number.is_f64() => number.to_string(),
                _ => return Err(broken(span, "a key must be a text; quote it")),
            };
            return self.key(Key::Name(name), span);
        }
        self.note_item(span);
        self.put(value, height, span)
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, value: Value, height: usize, span: &Span) -> Result<(), Broken> {
        if self.open.len() + height > MAX_DEPTH {
            return Err(too_deep(span));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        open.height = open.height.max(height);
        match &mut open.node {
            Node::List(items) => items.push(value),
            Node::Map { map, key, merges } => match key.take() {
                Some(Key::Name(name)) => {
                    map.insert(name, value);
                }
                Some(Key::Merge) => merge(merges, value).map_err(|cause| broken(span, cause))?,
                None => {}
            },
        }
        Ok(())
    }

    /// Remembers where the elements of a top-level `items` stand.
    fn note_item(&mut self, span: &Span) {
        if let [
            Open {
                node:
                    Node::Map {
                        key: Some(Key::Name(name)),
                        ..
                    },
                ..
            },
            Open {
                node: Node::List(_),
                ..
            },
        ] = self.open.as_slice()
            && name == "items"
        {
            self.item_lines.push(span.start.line().max(1));
        }
    }
}

fn too_deep(span: &Span) -> Broken {
    broken(
        span,
        format!("more than {MAX_DEPTH} lists and maps within each other"),
    )
}

fn merge(merges: &mut Vec<Map<String, Value>>, value: Value) -> Result<(), &'static str> {
    const WANTED: &str = "`<<` takes a map or a list of maps";
    match value {
        Value::Object(map) => merges.push(map),
        Value::Array(items) => {
            for item in items {
                let Value::Object(map) = item else {
                    return Err(WANTED);
                };
                merges.push(map);
            }
        }
        _ => return Err(WANTED),
    }
    Ok(())
}

/// A scalar with its style and tag taken into account.
enum Meaning {
    Plain(Scalar),
    Text(String),
}

fn meaning(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Meaning, String> {
    let plain = || Meaning::Plain(resolve(text));
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain {
            plain()
        } else {
            Meaning::Text(text.to_owned())
        });
    };
    // Never the text itself: it may be a secret.
    let mismatch = || format!("the value is not what its tag !!{} says", tag.suffix());
    match tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() {
        Some("int") => match resolve(text) {
            scalar @ (Scalar::Int(_) | Scalar::Uint(_)) => Ok(Meaning::Plain(scalar)),
            _ => Err(mismatch()),
        },
        Some("float") => match resolve(text) {
            scalar @ (Scalar::Int(_) | Scalar::Float(_)) => Ok(Meaning::Plain(scalar)),
            _ => Err(mismatch()),
        },
        Some("bool") => match resolve(text) {
            scalar @ Scalar::Bool(_) => Ok(Meaning::Plain(scalar)),
            _ => Err(mismatch()),
        },
        Some("null") => match resolve(text) {
            Scalar::Null => Ok(Meaning::Plain(Scalar::Null)),
            _ => Err(mismatch()),
        },
        Some("binary") => {
            let packed: String = text.split_ascii_whitespace().collect();
            base64::engine::general_purpose::STANDARD
                .decode(packed)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .map(Meaning::Text)
                .ok_or_else(|| "the value of !!binary is not the base64 of a text".to_owned())
        }
        _ => Ok(Meaning::Text(text.to_owned())),
    }
}
