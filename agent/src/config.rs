//! What a person may say to the agent: flags, and each as an environment
//! variable.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::info;

use crate::caps::Caps;
use crate::identity::{JoinToken, TokenSource};

/// In the data directory, where no other file is named.
const OWN_CONFIG: &str = "agent.yaml";

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

  With the cluster owner's last word about what the hub may do:
    lockstep-agent run --hub hub.example.com:7443 --data-dir /var/lib/lockstep-agent \\
        --agent-config /etc/lockstep/agent.yaml

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
    /// What the cluster's owner lets the hub do: allowed namespaces, denied
    /// kinds, service accounts to act as, how much may be pruned and how fast.
    /// Without it, DATA-DIR/agent.yaml where that exists.
    #[arg(long, env = "LOCKSTEP_AGENT_CONFIG", value_name = "FILE")]
    agent_config: Option<PathBuf>,
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
    /// What the cluster's owner allows.
    ///
    /// # Errors
    /// The file is named but not there, or cannot be understood: then nothing
    /// may be done.
    pub fn caps(&self) -> anyhow::Result<Caps> {
        let own = self.data_dir.join(OWN_CONFIG);
        let path = match &self.agent_config {
            Some(path) => path,
            None if !own.try_exists().context("--data-dir")? => return Ok(Caps::default()),
            None => &own,
        };
        let caps = Caps::load(path)?;
        info!(file = %path.display(), "the hub may do what this file allows");
        Ok(caps)
    }

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
    fn the_owners_file_is_taken_where_it_is_and_must_be_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let run = |more: &[String]| {
            let dir = format!("--data-dir={}", folder.path().display());
            let fixed = ["lockstep-agent", "run", "--hub=h:1", &dir].map(str::to_owned);
            let Command::Run(run) =
                Cli::try_parse_from(fixed.into_iter().chain(more.iter().cloned()))
                    .unwrap()
                    .command;
            run.caps()
        };
        let account = |caps: &Caps| {
            caps.actor("shop")
                .account
                .map(|account| account.to_string())
        };
        assert_eq!(account(&run(&[]).unwrap()), None);
        std::fs::write(folder.path().join("agent.yaml"), "serviceAccount: a/own\n").unwrap();
        assert_eq!(account(&run(&[]).unwrap()).as_deref(), Some("a/own"));
        let named = folder.path().join("named.yaml");
        let flag = [format!("--agent-config={}", named.display())];
        assert!(run(&flag).unwrap_err().to_string().contains("named.yaml"));
        std::fs::write(&named, "serviceAccount: a/named\n").unwrap();
        assert_eq!(account(&run(&flag).unwrap()).as_deref(), Some("a/named"));
        std::fs::write(&named, "deniedKind: [Secret]\n").unwrap();
        let error = run(&flag).unwrap_err().to_string();
        assert!(error.contains("named.yaml line 1: "), "{error}");
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
