//! What each cluster should run. In come Assignments that something happened
//! to: their spec, their ref's commit, the clusters of their groups. Out go
//! changes of the clusters' desired state.
//!
//! [`plan`] decides, and knows nothing of Git or stores; [`content`] makes
//! Bundles, also for others who ask for one; [`release`] carries out one look
//! at one Assignment; [`driver`] says when each is looked at. A failure
//! anywhere leaves every cluster as it is, with the reason in the Assignment's
//! status. Nothing here speaks to an agent.

mod content;
mod driver;
mod options;
mod orders;
mod past;
mod pending;
mod plan;
mod release;
mod source;
#[cfg(test)]
mod tests;

pub use content::{Content, Trouble};
pub use driver::run;
pub use options::apply_options;
pub use orders::{OrderError, Orders};
pub use release::Release;
pub use source::Source;
#[cfg(test)]
pub use tests::world;
