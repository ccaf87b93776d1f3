//! What the server does to an object before it stores it, kind by kind: defaults, names,
//! validation, fields that may not change. Pure: objects in, objects or problems out.

mod defaults;
mod immutable;
mod lifecycle;
mod names;
mod pods;
mod schema;
mod validate;

pub(crate) use defaults::defaults;
pub(crate) use immutable::immutable;
pub(crate) use lifecycle::{bumps_generation, has_generation, on_create};
pub(crate) use names::{check_metadata, generated_name};
pub(crate) use schema::{custom_defaults, validate_custom};
pub(crate) use validate::{undecodable, validate};
