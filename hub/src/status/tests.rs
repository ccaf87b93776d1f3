//! The fleet as other rooms and readers meet it.

mod applying;
mod deleting;
mod joining;
mod policies;
mod properties;
mod scale;
mod showing;
mod watching;
