//! One commit reaches real clusters: the whole path, as its users see it.

mod first_commit;
mod groups;
mod judged;
mod manifests;
mod revisions;
mod webhooks;
