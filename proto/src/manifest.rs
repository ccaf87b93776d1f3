//! The YAML form of resources: what a person writes, read into the messages.
