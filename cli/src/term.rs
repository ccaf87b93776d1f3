//! The terminal: whether there is one, colours, tables, ages, and writing to
//! stdout in a way that survives `| head`.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::time::SystemTime;

use pbjson_types::Timestamp;
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

pub(crate) fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("LOCKSTEP_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call, as in tests, keeps the first log.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// Whether stdout is a terminal that wants colour.
pub(crate) fn is_colourful() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes data to stdout.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Says something to the person, beside the data.
#[allow(clippy::print_stderr)]
pub(crate) fn say(text: &str) {
    eprintln!("{}", lines(text));
}

/// Text from elsewhere as one line that does nothing to a terminal: what
/// clusters and repositories say may hold anything.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escape(text, |c| c.is_control() || is_deceiving(c))
}

/// The same for text that may have several lines.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| {
        c.is_control() && !matches!(c, '\n' | '\t') || is_deceiving(c)
    })
}

/// Characters that show later text in another order, or hide it.
fn is_deceiving(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_bad(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A line on stderr that is written over as work goes on; nothing where stderr
/// is not a terminal.
pub(crate) struct Progress {
    shows: bool,
    shown: String,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            shows: std::io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    pub fn show(&mut self, text: &str) {
        if !self.shows || self.shown == text {
            return;
        }
        text.clone_into(&mut self.shown);
        // A wrapped line could not be written over.
        let short: String = line(text).chars().take(78).collect();
        let _ = write!(std::io::stderr(), "\r\x1b[K{short}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.shown.is_empty() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// The reader of our output went away, as `head` does: not an error.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Rows under a header, in columns as wide as their widest cell.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(header.iter().map(|&h| h.to_owned()));
        table
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| match line(&cell) {
            Cow::Borrowed(_) => cell,
            Cow::Owned(escaped) => escaped,
        });
        self.rows.push(cells.collect());
    }

    pub fn render(&self, colour: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(c));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                let pad = width - cell.chars().count() + 2;
                match colour.then(|| paint(cell)).flatten() {
                    Some(code) => line.push_str(&format!("\x1b[{code}m{cell}\x1b[0m")),
                    None => line.push_str(cell),
                }
                line.extend(std::iter::repeat_n(' ', pad));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// The colour of a state, by the design's words.
fn paint(word: &str) -> Option<&'static str> {
    Some(match word.trim_end_matches('*') {
        "Synced" | "Healthy" | "Online" => "32",
        "Applying" | "Progressing" | "OutOfSync" | "Suspended" => "33",
        "Failed" | "Degraded" | "Missing" | "Offline" => "31",
        "Unknown" => "2",
        _ => return None,
    })
}

/// How long ago, in the largest unit that says enough: `3s`, `14m`, `5h`, `12d`.
pub(crate) fn age(time: Option<&Timestamp>, now: SystemTime) -> String {
    let Some(time) = time else {
        return "-".into();
    };
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    let seconds = (now - time.seconds).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ages_are_short() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds: i64| {
            let time = Timestamp {
                seconds: 1_000_000 - seconds,
                nanos: 0,
            };
            age(Some(&time), now)
        };
        assert_eq!(ago(3), "3s");
        assert_eq!(ago(-5), "0s", "a clock that is ahead");
        assert_eq!(ago(14 * 60), "14m");
        assert_eq!(ago(5 * 3600), "5h");
        assert_eq!(ago(12 * 86400), "12d");
        assert_eq!(age(None, now), "-");
    }

    #[test]
    fn what_would_act_on_a_terminal_is_escaped() {
        assert_eq!(line("plain – ünïcode"), "plain – ünïcode");
        assert_eq!(line("a\x1b[31mb\r\n\u{9b}c"), "a\\u{1b}[31mb\\r\\n\\u{9b}c");
        assert_eq!(line("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(lines("a\tb\n\x07"), "a\tb\n\\u{7}");
        let mut table = Table::new(&["MESSAGE"]);
        table.row(["two\nlines\x1b]0;title\x07".into()]);
        assert_eq!(
            table.render(true),
            "MESSAGE\ntwo\\nlines\\u{1b}]0;title\\u{7}\n"
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["wide".into(), "x".into()]);
        assert_eq!(table.render(false), "A     LONG\nwide  x\n");
        assert!(!table.render(true).contains('\x1b'));
    }
}
