//! The demo as a person runs it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// The demo builds the binaries if nobody has yet; after that it takes seconds.
const LIMIT: &str = "120";

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep-demo"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Processes whose parent was `pid`, by what `/proc` says now.
fn children(pid: u32) -> Result<BTreeSet<u32>> {
    let mut out = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").context("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything; the parent is the second word after it.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent == Some(pid.to_string().as_str()) {
            out.insert(child);
        }
    }
    Ok(out)
}

#[test]
fn once_ends_with_the_final_table_and_nothing_else_on_stdout() -> Result<()> {
    let output = demo(&["--once", "--timeout", LIMIT]).output()?;
    let (stdout, stderr) = (
        String::from_utf8(output.stdout)?,
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{}: {stderr}", output.status);
    let lines: Vec<&str> = stdout.lines().collect();
    ensure!(
        lines
            .first()
            .is_some_and(|line| line.starts_with("CLUSTER ")),
        "{stdout}"
    );
    let rows = &lines[1..lines.len() - 1];
    ensure!(
        rows.len() == 7,
        "five have the shop, two of them the preview: {stdout}"
    );
    ensure!(
        rows.iter().all(|row| row.contains(" Online ")
            && row.contains(" Synced ")
            && row.contains(" Healthy ")),
        "{stdout}"
    );
    let revisions: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row.split_whitespace().nth(5))
        .collect();
    ensure!(revisions.len() == 1, "all run one commit: {stdout}");
    ensure!(stdout.ends_with("5 clusters: 5 synced\n"), "{stdout}");
    ensure!(
        stderr.contains("From push to healthy on 5 clusters"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn a_machine_without_git_has_the_demo_all_the_same() -> Result<()> {
    let hub = lockstep_fixtures::Binaries::path(lockstep_fixtures::Binary::Hub)?;
    let nothing = tempfile::tempdir()?;
    let output = demo(&["--once", "--clusters", "2", "--timeout", LIMIT])
        .env("PATH", nothing.path())
        .env(
            "LOCKSTEP_TEST_BIN",
            hub.parent().context("a program is in a folder")?,
        )
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    ensure!(stderr.contains("git is not installed"), "{stderr}");
    ensure!(
        String::from_utf8(output.stdout)?.ends_with("2 clusters: 2 synced\n"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn a_demo_that_does_not_converge_in_time_says_who_is_late_and_where_the_logs_are() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().to_str().context("a path in UTF-8")?;
    let output = demo(&[
        "--once",
        "--clusters",
        "1",
        "--timeout",
        "1",
        "--dir",
        folder,
    ])
    .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // A fast machine may make it within a second; then there is nothing to say.
    if output.status.success() {
        return Ok(());
    }
    ensure!(
        output.status.code() == Some(1) && output.stdout.is_empty(),
        "{stderr}"
    );
    ensure!(
        stderr.contains("The demo failed: 1 of 1 places do not run "),
        "{stderr}"
    );
    let log = stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("hub: "))
        .context("where the hub's log is")?;
    ensure!(Path::new(log).is_file() && log.starts_with(folder), "{log}");
    Ok(())
}

#[test]
fn a_killed_demo_takes_everything_with_it() -> Result<()> {
    let mut running = demo(&["--clusters", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = running.stderr.take().context("its stderr")?;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    let told = lines.find(|line| {
        line.as_ref()
            .is_ok_and(|line| line.contains("Ctrl-C ends the demo"))
    });
    ensure!(told.is_some(), "the demo ended before its story did");
    let started = children(running.id())?;
    ensure!(started.len() >= 3, "a hub and two agents: {started:?}");
    running.kill()?;
    running.wait()?;
    let begin = Instant::now();
    loop {
        let left: Vec<&u32> = started
            .iter()
            .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < Duration::from_secs(10),
            "still there: {left:?}"
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn wrong_usage_is_told_apart_from_failure() -> Result<()> {
    for arguments in [
        &["--clusters", "0"][..],
        &["--clusters", "201"],
        &["--kubeconfig", "x"],
        &["--real", "--kubeconfig", "x", "--contexts", "a"],
        &["--nonsense"],
    ] {
        let output = demo(arguments).output()?;
        ensure!(
            output.status.code() == Some(2),
            "{arguments:?}: {}",
            output.status
        );
    }
    let help = String::from_utf8(demo(&["--help"]).output()?.stdout)?;
    ensure!(
        help.contains("cargo demo --once") && help.contains("Exit codes"),
        "{help}"
    );
    Ok(())
}
