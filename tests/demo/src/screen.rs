//! The live table: in place on a terminal, a line for each change otherwise.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::say::{is_terminal, put, say};
use crate::status::Row;

/// The terminal is drawn at most this often.
const FRAME: Duration = Duration::from_millis(80);
/// Larger fleets are told in sums where there is no terminal.
const MOST_ROWS_TOLD: usize = 20;
/// Without a terminal that says its height.
const HEIGHT: usize = 24;

/// Draws rows as they change.
pub struct Screen {
    live: bool,
    colour: bool,
    /// The revision that everybody is to run.
    revision: String,
    begin: Instant,
    drawn: usize,
    last_frame: Option<Instant>,
    told: BTreeMap<(String, String), String>,
    last_sum: String,
}

impl Screen {
    /// For the arrival of a revision; times count from now.
    pub fn new(revision: &str) -> Self {
        Self {
            live: is_terminal(),
            colour: is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            revision: revision.to_owned(),
            begin: Instant::now(),
            drawn: 0,
            last_frame: None,
            told: BTreeMap::new(),
            last_sum: String::new(),
        }
    }

    /// Shows the rows; `last` is drawn even if a frame was just drawn.
    pub fn show(&mut self, rows: &[Row], left: usize, expected: usize, last: bool) {
        if self.live {
            if !last && self.last_frame.is_some_and(|at| at.elapsed() < FRAME) {
                return;
            }
            self.last_frame = Some(Instant::now());
            let height = terminal_size::terminal_size_of(std::io::stderr())
                .map_or(HEIGHT, |(_, height)| usize::from(height.0));
            let sum = format!(
                "{} of {expected} there, {:.1} s",
                expected - left,
                self.begin.elapsed().as_secs_f32()
            );
            let lines = table(rows, height.saturating_sub(4).max(4), &sum, self.colour);
            let up = if self.drawn > 0 {
                format!("\x1b[{}A", self.drawn)
            } else {
                String::new()
            };
            let text: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
            put(&format!("{up}\r{text}\x1b[J"));
            self.drawn = lines.len();
        } else if expected <= MOST_ROWS_TOLD {
            self.tell(rows);
        } else {
            let sum = format!("{} of {expected} there", expected - left);
            if sum != self.last_sum
                && (last || self.last_frame.is_none_or(|at| at.elapsed() >= FRAME * 10))
            {
                say(&format!(
                    "{:>6.1} s  {sum}",
                    self.begin.elapsed().as_secs_f32()
                ));
                self.last_sum = sum;
                self.last_frame = Some(Instant::now());
            }
        }
    }

    fn tell(&mut self, rows: &[Row]) {
        for row in rows.iter().filter(|row| row.desired == self.revision) {
            let words = format!("{} {} {}", short(&row.applied), row.sync, row.health);
            let place = (row.cluster.clone(), row.assignment.clone());
            if self.told.get(&place) == Some(&words) {
                continue;
            }
            let at = self.begin.elapsed().as_secs_f32();
            let cells = [
                &row.cluster,
                &row.assignment,
                &short(&row.desired),
                &short(&row.applied),
                &row.sync,
                &row.health,
            ];
            let widths = [8, 10, 8, 8, 10, 12];
            let line: Vec<String> = cells
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            say(format!("{at:>6.1} s  {}", line.join(" ")).trim_end());
            self.told.insert(place, words);
        }
    }
}

/// The colour of a word of the status, if it has one.
fn paint(word: &str) -> Option<&'static str> {
    match word {
        "Synced" | "Healthy" | "Online" => Some("32"),
        "Applying" | "OutOfSync" | "Progressing" | "Missing" | "Suspended" => Some("33"),
        "Failed" | "Degraded" | "Offline" => Some("31"),
        _ => None,
    }
}

fn short(revision: &str) -> String {
    if revision.is_empty() {
        "-".to_owned()
    } else {
        revision.chars().take(7).collect()
    }
}

/// The rows as lines, at most `height` of them; those that are not there yet come first when
/// not all fit.
fn table(rows: &[Row], height: usize, sum: &str, colour: bool) -> Vec<String> {
    const HEAD: [&str; 8] = [
        "CLUSTER",
        "GROUP",
        "CONN",
        "ASSIGNMENT",
        "DESIRED",
        "APPLIED",
        "SYNC",
        "HEALTH",
    ];
    let room = height.saturating_sub(2);
    let mut shown: Vec<&Row> = rows.iter().collect();
    let hidden = shown.len().saturating_sub(room);
    if hidden > 0 {
        shown.sort_by_key(|row| row.runs(&row.desired));
        shown.truncate(room.saturating_sub(1));
    }
    let mut cells: Vec<[String; 8]> = vec![HEAD.map(str::to_owned)];
    cells.extend(shown.iter().map(|row| {
        let dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        [
            row.cluster.clone(),
            dash(&row.groups),
            dash(&row.connection),
            dash(&row.assignment),
            short(&row.desired),
            short(&row.applied),
            dash(&row.sync),
            dash(&row.health),
        ]
    }));
    let mut widths = [0; 8];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines: Vec<String> = cells
        .iter()
        .map(|row| {
            let padded: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| {
                    let text = format!("{cell:<width$}");
                    match paint(cell) {
                        Some(code) if colour => format!("\x1b[{code}m{text}\x1b[0m"),
                        _ => text,
                    }
                })
                .collect();
            padded.join("  ").trim_end().to_owned()
        })
        .collect();
    if hidden > 0 {
        lines.push(format!("… and {} more", rows.len() - shown.len()));
    }
    lines.push(sum.to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: usize, done: bool) -> Row {
        Row {
            cluster: format!("eu-{number}"),
            connection: "Online".to_owned(),
            assignment: "shop".to_owned(),
            desired: "0123456789".to_owned(),
            applied: if done {
                "0123456789".to_owned()
            } else {
                String::new()
            },
            sync: if done { "Synced" } else { "Applying" }.to_owned(),
            health: if done { "Healthy" } else { "Unknown" }.to_owned(),
            ..Row::default()
        }
    }

    #[test]
    fn a_small_fleet_is_shown_whole_and_in_columns() {
        let lines = table(&[row(1, true), row(12, false)], 10, "1 of 2", false);
        assert_eq!(
            lines,
            [
                "CLUSTER  GROUP  CONN    ASSIGNMENT  DESIRED  APPLIED  SYNC      HEALTH",
                "eu-1     -      Online  shop        0123456  0123456  Synced    Healthy",
                "eu-12    -      Online  shop        0123456  -        Applying  Unknown",
                "1 of 2",
            ]
        );
    }

    #[test]
    fn a_large_fleet_fits_the_terminal_and_shows_who_is_late() {
        let rows: Vec<Row> = (0..50).map(|number| row(number, number != 40)).collect();
        let lines = table(&rows, 10, "49 of 50", false);
        assert!(lines.len() <= 10, "{lines:?}");
        assert!(lines[1].starts_with("eu-40 "), "{lines:?}");
        assert!(
            lines.iter().any(|line| line.contains("43 more")),
            "{lines:?}"
        );
    }
}
