//! The shape of every kind that the sandbox serves: which fields there are, how lists are
//! merged, what is atomic. Built-in kinds come from a table taken from a real API server;
//! custom ones from the schema in their definition. Both are OpenAPI with the Kubernetes
//! extensions, so one reader serves both.

mod builtin;
mod check;
mod quantity;
mod shape;

pub(crate) use builtin::{OBJECT_META, builtin};
pub(crate) use check::{
    Problem, canonical_quantities, drop_empty, drop_nulls, fill, fill_required, prune, zero,
};
pub(crate) use shape::{Kind, ListKind, Scalar, Shape, Strategy, TypeId, Types};
