//! Sessions and fetches as an agent sees them, over gRPC on a socket.

mod bundles;
mod events;
mod plans;
mod sessions;
mod world;
