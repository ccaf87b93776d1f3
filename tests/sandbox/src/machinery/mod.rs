//! The operations on objects, as the API machinery does them: decode, default, merge,
//! validate, count, store. One call is one step under the sandbox's lock; nothing in here
//! waits. What comes in are values and options; what goes out is the new object or a
//! [`Status`](crate::status::Status).

mod decode;
mod kept;
mod patching;
mod remove;
mod scale;
mod state;
mod write;

pub(crate) use patching::PatchFormat;
pub(crate) use remove::Deletion;
pub(crate) use scale::{pick, read_scale, write_scale};
pub(crate) use state::{State, Target, random};
pub(crate) use write::{Options, Validation, Written};

/// Nothing larger is stored, as with etcd's default.
pub(crate) const MOST_OBJECT_BYTES: usize = 3 << 19;
