//! Who may do what: join tokens, certificates, administrators, and what the
//! hub says to everybody else.

mod agents;
mod api;
mod tokens;
