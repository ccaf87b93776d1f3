//! `--help`, `--version` and wrong usage of the three binaries.

use std::process::Stdio;

use lockstep_e2e::fixtures::{Binaries, Binary};
use lockstep_e2e::{Result, ensure};
use tokio::process::Command;

async fn run(binary: Binary, arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = Command::new(Binaries::path(binary)?)
        .args(arguments)
        .env_remove("LOCKSTEP_CONFIG")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .await?;
    Ok((
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

#[tokio::test]
async fn every_help_explains_itself_on_stdout_with_an_example() -> Result<()> {
    let all: [(Binary, &[&str]); 27] = [
        (Binary::Hub, &[]),
        (Binary::Hub, &["serve"]),
        (Binary::Agent, &[]),
        (Binary::Agent, &["run"]),
        (Binary::Cli, &[]),
        (Binary::Cli, &["apply"]),
        (Binary::Cli, &["get"]),
        (Binary::Cli, &["describe"]),
        (Binary::Cli, &["delete"]),
        (Binary::Cli, &["label"]),
        (Binary::Cli, &["status"]),
        (Binary::Cli, &["token", "create"]),
        (Binary::Cli, &["credential", "create"]),
        (Binary::Cli, &["wait"]),
        (Binary::Cli, &["sync"]),
        (Binary::Cli, &["diff"]),
        (Binary::Cli, &["history"]),
        (Binary::Cli, &["rollback"]),
        (Binary::Cli, &["pause"]),
        (Binary::Cli, &["resume"]),
        (Binary::Cli, &["approve"]),
        (Binary::Cli, &["login"]),
        (Binary::Cli, &["completion"]),
        (Binary::Cli, &["token"]),
        (Binary::Cli, &["credential"]),
        (Binary::Cli, &["context"]),
        (Binary::Cli, &["context", "use"]),
    ];
    for (binary, command) in all {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let (code, stdout, stderr) = run(binary, &arguments).await?;
        let what = format!("{} {}", binary.name(), arguments.join(" "));
        ensure!(code == 0 && stderr.is_empty(), "{what}: {code} {stderr}");
        ensure!(stdout.contains("Usage:"), "{what}: {stdout}");
        let takes_examples = !matches!(
            command,
            ["token" | "credential" | "context"] | ["context", "use"]
        );
        ensure!(
            !takes_examples || stdout.contains("Example"),
            "{what}: {stdout}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn versions_are_told_and_wrong_usage_is_two() -> Result<()> {
    for binary in [Binary::Hub, Binary::Agent, Binary::Cli] {
        let (code, stdout, _) = run(binary, &["--version"]).await?;
        ensure!(code == 0 && stdout.starts_with(binary.name()), "{stdout}");
        let (code, stdout, stderr) = run(binary, &["--no-such-flag"]).await?;
        ensure!(
            code == 2 && stdout.is_empty() && !stderr.is_empty(),
            "{code} {stderr}"
        );
        let (code, _, _) = run(binary, &["no-such-command"]).await?;
        ensure!(code == 2, "{}: {code}", binary.name());
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = run(Binary::Cli, &["completion", shell]).await?;
        ensure!(code == 0 && stdout.contains("lockstep"), "{shell}: {code}");
    }
    Ok(())
}

#[tokio::test]
async fn without_a_context_the_command_says_where_it_looked() -> Result<()> {
    let (code, stdout, stderr) = run(Binary::Cli, &["status"]).await?;
    ensure!(code == 1 && stdout.is_empty(), "{code} {stdout}");
    ensure!(
        stderr.contains("config.yaml") && stderr.contains("admin.yaml"),
        "{stderr}"
    );
    Ok(())
}
