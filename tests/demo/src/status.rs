//! What the hub says of the fleet: read from `lockstep status --watch`, and judged.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use lockstep_fixtures::Cli;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout};

/// One line of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub cluster: String,
    pub groups: String,
    pub connection: String,
    pub assignment: String,
    pub desired: String,
    pub applied: String,
    pub sync: String,
    pub health: String,
    pub message: String,
}

impl Row {
    /// Does the cluster run the revision, healthily?
    pub fn runs(&self, revision: &str) -> bool {
        self.connection == "Online"
            && self.desired == revision
            && self.applied == revision
            && self.sync == "Synced"
            && self.health == "Healthy"
    }
}

/// Cluster and assignment.
pub type Place = (String, String);

/// The places that do not run the revision yet, with what is known of them.
pub fn missing(rows: &[Row], expected: &[Place], revision: &str) -> Vec<(Place, Option<Row>)> {
    let by_place: BTreeMap<(&str, &str), &Row> = rows
        .iter()
        .map(|row| ((row.cluster.as_str(), row.assignment.as_str()), row))
        .collect();
    expected
        .iter()
        .filter_map(|place| {
            let row = by_place.get(&(place.0.as_str(), place.1.as_str())).copied();
            match row {
                Some(row) if row.runs(revision) => None,
                row => Some((place.clone(), row.cloned())),
            }
        })
        .collect()
}

/// Reads the rows of one update.
pub fn rows(update: &Value) -> Vec<Row> {
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let list = update["rows"].as_array().into_iter().flatten();
    list.map(|row| {
        let state = &row["assignment"];
        let groups = row["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        Row {
            cluster: word(&row["cluster"]),
            groups: groups.collect::<Vec<_>>().join(","),
            connection: word(&row["connection"]),
            assignment: word(&state["name"]),
            desired: word(&state["desiredRevision"]),
            applied: word(&state["appliedRevision"]),
            sync: word(&state["sync"]),
            health: word(&state["health"]),
            message: word(&state["message"]),
        }
    })
    .collect()
}

/// A running `lockstep status --watch -o json`.
pub struct Watch {
    child: Child,
    output: ChildStdout,
    buffer: Vec<u8>,
}

impl Watch {
    /// Starts watching.
    ///
    /// # Errors
    ///
    /// If the command cannot be started.
    pub fn start(cli: &Cli) -> Result<Self> {
        let mut child = cli
            .command()
            .args(["status", "--watch", "-o", "json"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            // Ctrl-C is for us: what we started ends when we say so.
            .process_group(0)
            .spawn()
            .context("start lockstep status --watch")?;
        let output = child.stdout.take().context("its output")?;
        Ok(Self {
            child,
            output,
            buffer: Vec::new(),
        })
    }

    /// The newest table; several that wait are one. Losing the future loses nothing.
    ///
    /// # Errors
    ///
    /// If the command ended.
    pub async fn next(&mut self) -> Result<Vec<Row>> {
        loop {
            if let Some(update) = newest(&mut self.buffer)? {
                return Ok(rows(&update));
            }
            let read = self
                .output
                .read_buf(&mut self.buffer)
                .await
                .context("read lockstep status --watch")?;
            if read == 0 {
                let status = self
                    .child
                    .wait()
                    .await
                    .context("wait for lockstep status --watch")?;
                ensure!(read > 0, "lockstep status --watch ended: {status}");
            }
        }
    }
}

/// Takes the complete documents from the front of the buffer; gives the last.
fn newest(buffer: &mut Vec<u8>) -> Result<Option<Value>> {
    let mut stream = serde_json::Deserializer::from_slice(buffer).into_iter::<Value>();
    let mut last = None;
    let mut taken = 0;
    loop {
        match stream.next() {
            Some(Ok(value)) => {
                last = Some(value);
                taken = stream.byte_offset();
            }
            Some(Err(error)) if error.is_eof() => break,
            Some(Err(error)) => return Err(error).context("lockstep status --watch wrote no JSON"),
            None => break,
        }
    }
    buffer.drain(..taken);
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cluster: &str, revision: &str, health: &str) -> Row {
        Row {
            cluster: cluster.to_owned(),
            connection: "Online".to_owned(),
            assignment: "shop".to_owned(),
            desired: revision.to_owned(),
            applied: revision.to_owned(),
            sync: "Synced".to_owned(),
            health: health.to_owned(),
            ..Row::default()
        }
    }

    #[test]
    fn converged_means_that_every_expected_place_runs_the_revision_healthily() {
        let expected: Vec<Place> = ["a", "b", "c"]
            .map(|name| (name.to_owned(), "shop".to_owned()))
            .to_vec();
        let names = |rows: &[Row]| -> Vec<String> {
            missing(rows, &expected, "r1")
                .into_iter()
                .map(|((cluster, _), _)| cluster)
                .collect()
        };
        assert_eq!(names(&[]), ["a", "b", "c"]);
        let (old, sick) = (row("b", "r0", "Healthy"), row("c", "r1", "Progressing"));
        assert_eq!(names(&[row("a", "r1", "Healthy"), old, sick]), ["b", "c"]);
        let offline = Row {
            connection: "Offline".to_owned(),
            ..row("b", "r1", "Healthy")
        };
        assert_eq!(
            names(&[
                row("a", "r1", "Healthy"),
                offline,
                row("c", "r1", "Healthy")
            ]),
            ["b"]
        );
        let all = ["a", "b", "c"].map(|name| row(name, "r1", "Healthy"));
        assert!(names(&all).is_empty());
    }

    #[test]
    fn documents_are_taken_whole_and_the_newest_counts() {
        let mut buffer = b"{\"rows\": []}\n\n{\"rows\": [{\"cluster\": \"a\"}]}\n{\"ro".to_vec();
        let update = newest(&mut buffer).unwrap().unwrap();
        assert_eq!(rows(&update)[0].cluster, "a");
        assert_eq!(buffer, b"\n{\"ro");
        assert!(newest(&mut buffer).unwrap().is_none());
        buffer.extend_from_slice(b"ws\": []}");
        assert!(rows(&newest(&mut buffer).unwrap().unwrap()).is_empty());
        assert!(newest(&mut b"nonsense".to_vec()).is_err());
    }
}
