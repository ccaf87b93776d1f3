//! What a person does with one assignment, from its first revision to its end:
//! modes, pins, pauses, approval, drift, order, and what is said of them.

mod approval;
mod differences;
mod drift;
mod history;
mod holds;
mod order;
mod shop;
mod written;
