//! What people type and scripts read: arguments, exit codes, JSON shapes,
//! messages. Names and paths here are a contract.

mod apply;
mod commands;
mod help;
mod json;
