//! What must be there before anything starts: our binaries, git, room for connections.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::say::say;

/// Connections and pipes that one cluster costs us, generously.
const FILES_PER_CLUSTER: u64 = 64;
const FILES: u64 = 512;

/// Builds the hub, the agent and the command line, with cargo's own progress.
///
/// # Errors
///
/// If they do not build.
pub fn build() -> Result<()> {
    if std::env::var_os("LOCKSTEP_TEST_BIN").is_some() {
        return Ok(());
    }
    say("Building the hub, the agent and the command line …");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let mut command = Command::new(cargo);
    command.arg("build").arg("--manifest-path").arg(manifest);
    if let Some((target, profile)) = placed() {
        command
            .arg("--target-dir")
            .arg(target)
            .args(["--profile", &profile]);
    }
    let status = command
        .args([
            "-p",
            "lockstep-hub",
            "-p",
            "lockstep-agent",
            "-p",
            "lockstep",
        ])
        .stdin(Stdio::null())
        // Nothing but the final table goes to stdout.
        .stdout(Stdio::null())
        .status()
        .context("run cargo; is Rust installed? https://rustup.rs")?;
    ensure!(
        status.success(),
        "the hub, the agent or the command line does not build: see above"
    );
    Ok(())
}

/// The target folder and the profile that we were built in.
fn placed() -> Option<(std::path::PathBuf, String)> {
    let ours = std::env::current_exe().ok()?;
    let folder = ours.parent()?;
    let profile = match folder.file_name()?.to_str()? {
        "debug" => "dev",
        name => name,
    };
    Some((folder.parent()?.to_owned(), profile.to_owned()))
}

/// Can git serve a repository here?
///
/// # Errors
///
/// If git, or its HTTP part, is not installed.
pub fn git() -> Result<()> {
    const HOW: &str = "to push changes yourself, install it (Debian, Ubuntu: apt-get install git; Fedora: dnf install git; Alpine: apk add git git-daemon; macOS: xcode-select --install)";
    let output = Command::new("git")
        .arg("--exec-path")
        .stderr(Stdio::null())
        .output();
    let folder = match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => bail!("git is not installed; {HOW}"),
    };
    let backend = std::path::Path::new(&folder).join("git-http-backend");
    ensure!(
        backend.exists(),
        "git is installed without `git http-backend` ({}); {HOW}",
        backend.display()
    );
    Ok(())
}

/// Raises the limit of open files to what so many clusters in one process need.
///
/// # Errors
///
/// If the system allows fewer.
pub fn files(clusters: usize) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = FILES + FILES_PER_CLUSTER * clusters as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let most = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        most >= wanted,
        "{clusters} clusters need up to {wanted} open files, and the limit is {most}: raise it (ulimit -Hn {wanted}) or ask for fewer with --clusters"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        },
    )
    .context("raise the limit of open files")
}
