//! The fleet as other rooms and readers meet it.

mod applying;
mod joining;
mod properties;
mod scale;
mod showing;
mod watching;
