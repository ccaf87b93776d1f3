//! What a person may say to the agent: flags, and each as an environment
//! variable.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::identity::{JoinToken, TokenSource};

const EXAMPLES: &str = "\
Examples:
  The first time, with a token from `lockstep token create --cluster eu-1`:
    lockstep-agent run --hub hub.example.com:7443 --data-dir /var/lib/lockstep-agent \\
        --join-token-file token

  From then on; the identity is in the data directory:
    lockstep-agent run --hub hub.example.com:7443 --data-dir /var/lib/lockstep-agent

  For a cluster of your kubeconfig:
    lockstep-agent run --hub 127.0.0.1:7443 --data-dir ./eu-1 --join-token \"$TOKEN\" \\
        --kubeconfig ~/.kube/config --context eu-1

LOCKSTEP_LOG says what is logged: error, warn, info (default), debug, or a filter
such as `info,lockstep_agent::link=debug`.";

/// Keeps one Kubernetes cluster in step with what the hub assigns to it.
#[derive(Debug, Parser)]
#[command(name = "lockstep-agent", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// How log lines on stderr look.
    #[arg(
        long,
        global = true,
        env = "LOCKSTEP_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Join the hub if need be, and run until told to stop.
    #[command(after_help = EXAMPLES)]
    Run(Run),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct Run {
    /// The hub's gRPC address.
    #[arg(long, env = "LOCKSTEP_HUB", value_name = "HOST:PORT", value_parser = endpoint)]
    pub hub: String,
    /// Where the agent keeps its identity and what the hub wants; made if missing.
    #[arg(long, env = "LOCKSTEP_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// What `lockstep token create` printed. Only needed the first time.
    // A String, so that a token with a typing error is not repeated in the usage error.
    #[arg(
        long,
        env = "LOCKSTEP_JOIN_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    join_token: Option<String>,
    /// A file with the token; keeps it out of the process list.
    #[arg(
        long,
        env = "LOCKSTEP_JOIN_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "join_token"
    )]
    join_token_file: Option<PathBuf>,
    /// How to reach the cluster. Without it, the agent takes the service account
    /// of the pod that it runs in.
    #[arg(long, env = "LOCKSTEP_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig, if not its current one.
    #[arg(
        long,
        env = "LOCKSTEP_CONTEXT",
        value_name = "NAME",
        requires = "kubeconfig"
    )]
    pub context: Option<String>,
    /// Where /metrics, /livez and /readyz are served. Port 0 takes a free one;
    /// the log line `listening` and DATA-DIR/http.addr say which.
    #[arg(
        long,
        env = "LOCKSTEP_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    pub http: SocketAddr,
}

impl Run {
    /// Where the join token comes from.
    ///
    /// # Errors
    /// What was given is not a token.
    pub fn join_token(&self) -> anyhow::Result<TokenSource> {
        match (&self.join_token, &self.join_token_file) {
            (None, Some(path)) => Ok(TokenSource::File(path.clone())),
            (Some(token), _) if !token.trim().is_empty() => JoinToken::parse(token)
                .map(TokenSource::Given)
                .context("--join-token"),
            _ => Ok(TokenSource::None),
        }
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let expected = || format!("expected HOST:PORT, such as hub.example.com:7443, not {text:?}");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let named = !host.is_empty() && !host.contains(['/', ':', '@', '[', ']']);
    let numbered = bare.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    match port.parse::<u16>() {
        Ok(1..) if named || numbered => Ok(text.to_owned()),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_is_also_an_environment_variable() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").unwrap();
        for arg in run.get_arguments().chain(cli.get_arguments()) {
            let Some(long) = arg.get_long().filter(|l| !["help", "version"].contains(l)) else {
                continue;
            };
            let name = format!("LOCKSTEP_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().unwrap().to_str(), Some(name.as_str()));
        }
    }

    #[test]
    fn every_help_has_examples() {
        for arguments in [vec!["--help"], vec!["run", "--help"]] {
            let arguments = ["lockstep-agent"].into_iter().chain(arguments);
            let help = Cli::try_parse_from(arguments).unwrap_err();
            assert_eq!(help.kind(), ErrorKind::DisplayHelp);
            assert!(help.to_string().contains("Examples:"), "{help}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for good in ["hub:7443", "127.0.0.1:1", "[::1]:7443", "a.b.c:65535"] {
            assert_eq!(endpoint(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "hub",
            "hub:",
            ":7443",
            "hub:0",
            "hub:65536",
            "https://hub:7443",
            "::1:7443",
            "[hub]:7443",
            "me@hub:7443",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mistyped_token_is_not_repeated() {
        let cli = Cli::try_parse_from([
            "lockstep-agent",
            "run",
            "--hub=h:1",
            "--data-dir=/x",
            "--join-token=s3cret",
        ]);
        let Command::Run(run) = cli.unwrap().command;
        let error = format!("{:#}", run.join_token().err().unwrap());
        assert!(
            error.contains("--join-token") && !error.contains("s3cret"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_token_is_no_token() {
        let arguments = [
            "lockstep-agent",
            "run",
            "--hub=h:1",
            "--data-dir=/x",
            "--join-token=",
        ];
        let Command::Run(run) = Cli::try_parse_from(arguments).unwrap().command;
        assert!(matches!(run.join_token().unwrap(), TokenSource::None));
    }
}
