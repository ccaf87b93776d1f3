//! Types as the merge needs them, in one arena: recursive schemas then need no cycles of
//! pointers. A [`Shape`] is a place in such an arena and is as cheap as a reference.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Integer,
    Number,
    Boolean,
    /// A port or a percentage: integer or string.
    IntOrString,
    /// `resource.Quantity`: string or number.
    Quantity,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Atomic,
    Set,
    Map(Vec<String>),
}

/// How a strategic merge patch treats a list or a struct.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strategy {
    pub merge: bool,
    pub retain_keys: bool,
    pub key: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub ty: TypeId,
    pub default: Option<Value>,
    pub strategy: Strategy,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    pub fields: BTreeMap<String, Field>,
    /// The type of keys that are no declared field; `None` where there may be none.
    pub rest: Option<TypeId>,
    pub atomic: bool,
    /// A struct without fields, not a map: its presence means something.
    pub marker: bool,
    pub required: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List {
        item: TypeId,
        kind: ListKind,
    },
    Map(Map),
    /// No schema: maps merge key by key, lists and scalars are replaced.
    Deduced,
    /// No schema and replaced as a whole.
    Opaque,
}

/// An arena of types.
#[derive(Debug, Default)]
pub(crate) struct Types {
    kinds: Vec<Kind>,
    named: HashMap<String, TypeId>,
}

/// Looks up what a `$ref` names.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<&'a Value>;

impl Types {
    pub(crate) fn shape(&self, id: TypeId) -> Shape<'_> {
        Shape { types: self, id }
    }

    fn push(&mut self, kind: Kind) -> TypeId {
        let id =
            TypeId(u32::try_from(self.kinds.len()).expect("a schema has fewer than 2^32 types"));
        self.kinds.push(kind);
        id
    }

    /// The type that a `$ref` names, read once.
    pub(crate) fn named(&mut self, name: &str, lookup: Lookup<'_>) -> TypeId {
        if let Some(id) = self.named.get(name) {
            return *id;
        }
        // The place is taken before the body is read: a type may contain itself.
        let id = self.push(Kind::Opaque);
        self.named.insert(name.to_owned(), id);
        if let Some(scalar) = well_known(name) {
            self.kinds[id.0 as usize] = scalar;
            return id;
        }
        if let Some(schema) = lookup(name) {
            let read = self.read(schema, false, lookup);
            self.kinds[id.0 as usize] = self.kinds[read.0 as usize].clone();
        }
        id
    }

    /// Reads one OpenAPI schema. `open`: an ancestor keeps unknown fields.
    pub(crate) fn read(&mut self, schema: &Value, open: bool, lookup: Lookup<'_>) -> TypeId {
        if let Some(name) = schema["$ref"].as_str() {
            return self.named(name, lookup);
        }
        let open = open || schema["x-kubernetes-preserve-unknown-fields"] == true;
        if schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string" {
            return self.push(Kind::Scalar(Scalar::IntOrString));
        }
        let kind = match schema["type"].as_str() {
            Some("object") => self.read_map(schema, open, lookup),
            Some("array") => {
                let item = self.read(&schema["items"], open, lookup);
                Kind::List {
                    item,
                    kind: list_kind(schema),
                }
            }
            Some("string") => Kind::Scalar(Scalar::String),
            Some("integer") => Kind::Scalar(Scalar::Integer),
            Some("number") => Kind::Scalar(Scalar::Number),
            Some("boolean") => Kind::Scalar(Scalar::Boolean),
            _ if schema["properties"].is_object() => self.read_map(schema, open, lookup),
            _ if open => Kind::Deduced,
            _ => Kind::Opaque,
        };
        self.push(kind)
    }

    fn read_map(&mut self, schema: &Value, open: bool, lookup: Lookup<'_>) -> Kind {
        let mut map = Map {
            atomic: schema["x-kubernetes-map-type"] == "atomic",
            ..Map::default()
        };
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let ty = self.read(property, open, lookup);
            let default = property.get("default").cloned();
            map.fields.insert(
                name.clone(),
                Field {
                    ty,
                    default,
                    strategy: strategy(property),
                },
            );
        }
        map.required = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        if schema["x-kubernetes-embedded-resource"] == true {
            for name in ["apiVersion", "kind"] {
                let ty = self.push(Kind::Scalar(Scalar::String));
                let field = Field {
                    ty,
                    default: None,
                    strategy: Strategy::default(),
                };
                map.fields.entry(name.to_owned()).or_insert(field);
            }
            let ty = self.push(Kind::Deduced);
            let field = Field {
                ty,
                default: None,
                strategy: Strategy::default(),
            };
            map.fields.entry("metadata".to_owned()).or_insert(field);
        }
        map.marker = map.fields.is_empty() && schema.get("additionalProperties").is_none();
        map.rest = match &schema["additionalProperties"] {
            Value::Object(_) => Some(self.read(&schema["additionalProperties"], open, lookup)),
            Value::Bool(true) => Some(self.push(Kind::Deduced)),
            Value::Bool(false) => None,
            _ if open || map.fields.is_empty() => Some(self.push(Kind::Deduced)),
            _ => None,
        };
        Kind::Map(map)
    }

    /// Replaces what a field of a struct is; for the root of custom resources.
    pub(crate) fn set_field(&mut self, of: TypeId, name: &str, ty: TypeId) {
        if let Kind::Map(map) = &mut self.kinds[of.0 as usize] {
            map.fields.insert(
                name.to_owned(),
                Field {
                    ty,
                    default: None,
                    strategy: Strategy::default(),
                },
            );
        }
    }

    pub(crate) fn scalar(&mut self, scalar: Scalar) -> TypeId {
        self.push(Kind::Scalar(scalar))
    }

    /// A struct without fields that may hold anything.
    pub(crate) fn free_form(&mut self) -> TypeId {
        let rest = Some(self.push(Kind::Deduced));
        self.push(Kind::Map(Map {
            rest,
            ..Map::default()
        }))
    }
}

fn well_known(name: &str) -> Option<Kind> {
    let scalar = match name.rsplit('.').next()? {
        "IntOrString" => Scalar::IntOrString,
        "Quantity" => Scalar::Quantity,
        "Time" | "MicroTime" => Scalar::String,
        "JSON"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrStringArray" => return Some(Kind::Opaque),
        _ => return None,
    };
    Some(Kind::Scalar(scalar))
}

fn list_kind(schema: &Value) -> ListKind {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(
            schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|key| key.as_str().map(str::to_owned))
                .collect(),
        ),
        _ => ListKind::Atomic,
    }
}

fn strategy(schema: &Value) -> Strategy {
    let words = schema["x-kubernetes-patch-strategy"].as_str().unwrap_or("");
    Strategy {
        merge: words.split(',').any(|word| word == "merge"),
        retain_keys: words.split(',').any(|word| word == "retainKeys"),
        key: schema["x-kubernetes-patch-merge-key"]
            .as_str()
            .map(str::to_owned),
    }
}

/// A type and the arena it lives in.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    types: &'a Types,
    id: TypeId,
}

impl<'a> Shape<'a> {
    pub(crate) fn kind(self) -> &'a Kind {
        &self.types.kinds[self.id.0 as usize]
    }

    pub(crate) fn at(self, id: TypeId) -> Shape<'a> {
        Shape {
            types: self.types,
            id,
        }
    }

    pub(crate) fn map(self) -> Option<&'a Map> {
        match self.kind() {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Is `name` declared, and not merely allowed?
    pub(crate) fn declares(self, name: &str) -> bool {
        self.map().is_some_and(|map| map.fields.contains_key(name))
    }

    /// The shape of a key of a map; `None` where the schema allows no such key.
    pub(crate) fn child(self, name: &str) -> Option<Shape<'a>> {
        match self.kind() {
            Kind::Map(map) => map
                .fields
                .get(name)
                .map(|field| field.ty)
                .or(map.rest)
                .map(|id| self.at(id)),
            Kind::Deduced => Some(self),
            _ => None,
        }
    }

    pub(crate) fn item(self) -> Option<Shape<'a>> {
        match self.kind() {
            Kind::List { item, .. } => Some(self.at(*item)),
            _ => None,
        }
    }

    /// How the items of a list are told apart. Without a schema: not at all.
    pub(crate) fn list_kind(self) -> &'a ListKind {
        match self.kind() {
            Kind::List { kind, .. } => kind,
            _ => &ListKind::Atomic,
        }
    }

    pub(crate) fn atomic_map(self) -> bool {
        match self.kind() {
            Kind::Map(map) => map.atomic,
            Kind::Deduced => false,
            _ => true,
        }
    }
}
