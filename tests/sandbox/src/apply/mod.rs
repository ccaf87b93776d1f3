//! Who owns which field, and what an apply does to an object. Pure: objects, shapes and
//! managers in; objects, managers or conflicts out. The rules are those of the
//! `structured-merge-diff` library that the real server uses.
//! See <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.

mod compare;
mod fields;
mod managed;
mod merge;
mod path;

pub(crate) use compare::same;
pub(crate) use managed::{ApplyError, Applying, Conflict, Identity, Managed, apply, update};
pub(crate) use path::{Set, one};

#[cfg(test)]
mod tests;
