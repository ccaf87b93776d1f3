//! What the demo says: on stderr, so that stdout is data.

use std::io::{IsTerminal as _, Write as _};

/// One line for the person.
pub fn say(text: &str) {
    put(&format!("{text}\n"));
}

/// Text as it is, with escapes for the terminal.
pub fn put(text: &str) {
    let mut out = std::io::stderr().lock();
    // A reader that went away must not end the demo.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Is there a terminal to draw on?
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Data, on stdout.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
