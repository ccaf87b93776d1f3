//! HTTP in front of the machinery: paths, query parameters, media types, answers. It waits
//! (for watches, for faults) so that nothing behind it has to.

mod accept;
mod admin;
mod answer;
mod body;
mod objects;
mod query;
mod route;
mod serve;

pub(crate) use accept::View;
pub use answer::Body as AnswerBody;
pub(crate) use answer::{Answer, stream};
pub(crate) use objects::partial;
pub use serve::Broken;
pub(crate) use serve::{bind, handle, serve};
