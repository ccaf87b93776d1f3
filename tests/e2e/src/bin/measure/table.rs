//! Numbers as people read them.

use std::fmt::Write as _;
use std::time::Duration;

/// Median and 90th percentile, by the nearest rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: Duration,
    pub p90: Duration,
}

/// Nothing for no samples.
pub fn spread(samples: &[Duration]) -> Option<Spread> {
    let mut sorted = samples.to_vec();
    sorted.sort();
    let rank = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    };
    Some(Spread {
        median: rank(50)?,
        p90: rank(90)?,
    })
}

pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

/// Columns aligned by spaces; the first row is the header.
pub fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[test]
fn percentiles_are_by_the_nearest_rank() {
    let samples: Vec<_> = (1..=30).rev().map(Duration::from_millis).collect();
    let spread_of_30 = spread(&samples).expect("there are samples");
    assert_eq!(spread_of_30.median, Duration::from_millis(15));
    assert_eq!(spread_of_30.p90, Duration::from_millis(27));
    let one = Duration::from_millis(7);
    let alone = spread(&[one]).expect("there is a sample");
    assert_eq!((alone.median, alone.p90), (one, one));
    assert_eq!(spread(&[]), None);
}

#[test]
fn cells_stand_under_their_header() {
    let rows = [
        vec!["a".to_owned(), "b".to_owned()],
        vec!["long".to_owned(), "x".to_owned()],
    ];
    assert_eq!(render(&rows), "a     b\nlong  x\n");
}
