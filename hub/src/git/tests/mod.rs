//! The room against `git http-backend`, with a fleet that tests hold.

mod asking;
mod disk;
mod faults;
mod remotes;
mod trees;
mod world;
