//! The fleet as other rooms and readers meet it.

mod applying;
mod properties;
mod showing;
mod watching;
