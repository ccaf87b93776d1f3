//! The shape of every kind that the sandbox serves: which fields there are, how lists are
//! merged, what is atomic. Built-in kinds come from a table taken from a real API server;
//! custom ones from the schema in their definition. Both are OpenAPI with the Kubernetes
//! extensions, so one reader serves both.

mod builtin;
mod check;
mod shape;

pub(crate) use builtin::{OBJECT_META, builtin};
pub(crate) use check::{Problem, drop_nulls, fill, prune, zero};
pub(crate) use shape::{Kind, ListKind, Scalar, Shape, Strategy, TypeId, Types};
