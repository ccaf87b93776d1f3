//! What goes wrong, and what must not happen then: nothing is lost, nothing is
//! deleted, nothing needs a person to get unstuck.

mod git;
mod kills;
mod losses;
mod outages;
