//! The arguments, as people type them. Every flag is also an environment
//! variable `LOCKSTEP_…`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lockstep_proto::v1::kind;

use crate::output::Format;

mod environment;
mod steer;

pub(crate) use steer::{DiffArgs, HistoryArgs, RollbackArgs, StayArgs, SteerArgs, SyncArgs};

/// Ask and steer a Lockstep hub.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, propagate_version = true)]
#[command(after_help = "\
Examples:
  lockstep apply -f fleet.yaml             declare repositories, groups and assignments
  lockstep token create --cluster eu-1     a join token for a new cluster's agent
  lockstep status --watch                  what runs where, kept up to date
  lockstep wait shop --for healthy         block until shop is rolled out
  lockstep diff shop --ref feature         what a branch would change on the clusters
  lockstep rollback shop --wait            back to the revision before, and stay there
  lockstep describe cluster eu-1           why a cluster is in the state it is in

The context comes from --config, LOCKSTEP_CONFIG or ~/.config/lockstep/config.yaml.
A hub writes one for its administrator: DIR/admin.yaml. Every flag is also an
environment variable: --for is LOCKSTEP_FOR.
Exit codes: 0 done, 1 error, 2 wrong usage; `status`, `wait`, `sync`, `rollback` and `diff` say more: see their --help.")]
pub struct Cli {
    /// The file that says which hub to ask, and with what token
    #[arg(long, global = true, env = "LOCKSTEP_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How the log on stderr is written; LOCKSTEP_LOG filters it
    #[arg(
        long,
        global = true,
        env = "LOCKSTEP_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create or change resources from YAML, all of them or none
    #[command(after_help = "\
Examples:
  lockstep apply -f fleet.yaml
  lockstep apply -f fleet/ --dry-run       every *.yaml, *.yml and *.json in the folder
  generate | lockstep apply -f -")]
    Apply(ApplyArgs),
    /// List resources
    #[command(after_help = "\
Kinds: clusters, clustergroups, repositories, assignments, jointokens, credentials (singular works too).

Examples:
  lockstep get clusters -l env=prod,region in (eu,us)
  lockstep get assignment shop -o yaml
  lockstep get clusters -o jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}'
  lockstep get assignments --watch")]
    Get(GetArgs),
    /// Say all that is known of one resource, in words
    #[command(after_help = "Example:\n  lockstep describe cluster eu-1")]
    Describe(DescribeArgs),
    /// Delete resources
    #[command(after_help = "\
Deleting an assignment removes its objects from every cluster that has it.
Deleting a cluster forgets it and refuses its agent; its objects stay where they are.

Examples:
  lockstep delete assignment shop
  lockstep delete -f fleet.yaml")]
    Delete(DeleteArgs),
    /// Change labels
    #[command(after_help = "\
Examples:
  lockstep label cluster eu-1 env=prod region=eu
  lockstep label cluster eu-1 canary-        remove a label")]
    Label(LabelArgs),
    /// What runs where
    #[command(after_help = "\
A * marks what was last known of a cluster that is offline. STAGE says what holds an assignment:
pinned, paused, manual (its mode) or approve (removals wait for a person).

Examples:
  lockstep status
  lockstep status --assignment shop --group prod --watch
  lockstep status --exit-code && echo converged

Exit codes with --exit-code: 0 converged, 2 not converged, 3 something is stale or offline.")]
    Status(StatusArgs),
    /// Join tokens for new clusters
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Credentials for repositories
    Credential {
        #[command(subcommand)]
        command: CredentialCommand,
    },
    /// Block until an assignment has arrived everywhere
    #[command(after_help = "\
Examples:
  lockstep wait shop --for synced
  lockstep wait shop --for healthy --revision $(git rev-parse HEAD) --timeout 10m

An assignment that reaches no cluster has not arrived: the command waits for one.

Exit codes: 0 arrived, 1 error, 4 the time ran out.")]
    Wait(WaitArgs),
    /// Give the clusters what the ref names now, or a commit
    #[command(after_help = steer::SYNC)]
    Sync(SyncArgs),
    /// What an assignment would change on the clusters
    #[command(after_help = steer::DIFF)]
    Diff(DiffArgs),
    /// Every revision that an assignment has had, by cluster, and what happened to its objects
    #[command(after_help = steer::HISTORY)]
    History(HistoryArgs),
    /// Go back to an earlier revision, and stay there
    #[command(after_help = steer::ROLLBACK)]
    Rollback(RollbackArgs),
    /// Stop changing an assignment's objects; they are still observed
    #[command(after_help = steer::PAUSE)]
    Pause(SteerArgs),
    /// End a pause and a pin
    #[command(after_help = steer::RESUME)]
    Resume(SteerArgs),
    /// Let the clusters prune more than maxPrune for the revision they have
    #[command(after_help = steer::APPROVE)]
    Approve(SteerArgs),
    /// Save how to reach a hub
    #[command(after_help = "\
Example:
  lockstep login hub.example.com:7443 --ca ca.pem --token-stdin < token")]
    Login(LoginArgs),
    /// The hubs that are known here
    Context {
        #[command(subcommand)]
        command: ContextCommand,
    },
    /// Print a completion script
    #[command(after_help = "\
Examples:
  lockstep completion bash > /etc/bash_completion.d/lockstep
  source <(lockstep completion zsh)")]
    Completion { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A file, a folder, or - for standard input
    #[arg(short, long = "filename", required = true, value_name = "FILE|DIR|-")]
    pub filename: Vec<PathBuf>,
    /// Check and say what would change, but change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// clusters, clustergroups, repositories, assignments, jointokens, credentials
    #[arg(value_parser = parse_kind)]
    pub kind: kind::Name,
    /// Only these
    pub names: Vec<String>,
    /// Only those whose labels match: key=value, key!=value, key, !key, key in (a,b)
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    pub selector: String,
    #[arg(short, long, default_value = "table", value_name = "FORMAT", help = Format::HELP)]
    pub output: Format,
    /// Stay, and print what changes
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    #[arg(value_parser = parse_kind)]
    pub kind: kind::Name,
    pub name: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[arg(value_parser = parse_kind, required_unless_present = "filename")]
    pub kind: Option<kind::Name>,
    #[arg(required_unless_present = "filename")]
    pub names: Vec<String>,
    /// Delete what these files declare
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", conflicts_with_all = ["kind", "names"])]
    pub filename: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    #[arg(value_parser = parse_kind)]
    pub kind: kind::Name,
    pub name: String,
    /// key=value sets, key- removes
    #[arg(
        required = true,
        value_name = "KEY=VALUE|KEY-",
        allow_hyphen_values = true
    )]
    pub labels: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this assignment
    #[arg(long, value_name = "NAME", default_value = "")]
    pub assignment: String,
    /// Only clusters of this group
    #[arg(long, value_name = "NAME", default_value = "")]
    pub group: String,
    /// Only clusters whose labels match
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    pub selector: String,
    /// Stay, and show every change
    #[arg(short, long)]
    pub watch: bool,
    #[arg(short, long, default_value = "table", value_name = "FORMAT", help = Format::HELP)]
    pub output: Format,
    /// Tell by the exit code whether the fleet has converged
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token with which one agent may join; prints the token alone
    #[command(after_help = "\
Example:
  lockstep token create --cluster eu-1 --labels env=prod,region=eu > eu-1.token")]
    Create {
        /// The name that the cluster will have
        #[arg(long, value_name = "NAME")]
        cluster: String,
        /// Labels that the cluster gets when it joins
        #[arg(long, value_name = "K=V,…", value_delimiter = ',')]
        labels: Vec<String>,
        /// How long the token can be used
        #[arg(long, default_value = "1h", value_parser = parse_duration)]
        ttl: Duration,
    },
    /// List the tokens that were made, never the secret in them
    List {
        #[arg(short, long, default_value = "table", value_name = "FORMAT", help = Format::HELP)]
        output: Format,
    },
    /// Make a token worthless
    Revoke { id: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialCommand {
    /// Store a credential in the hub; the secret is read from standard input
    #[command(after_help = "\
Examples:
  lockstep credential create shop-git --username deploy --password-stdin < password
  lockstep credential create shop-hook --token-stdin < secret")]
    Create(CredentialArgs),
    /// List credentials, never their secrets
    List {
        #[arg(short, long, default_value = "table", value_name = "FORMAT", help = Format::HELP)]
        output: Format,
    },
    /// Delete a credential that no repository uses
    Delete { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct CredentialArgs {
    pub name: String,
    /// User name for basic authentication
    #[arg(long, requires = "password_stdin")]
    pub username: Option<String>,
    /// Read the password from standard input
    #[arg(
        long,
        requires = "username",
        conflicts_with = "token_stdin",
        required_unless_present = "token_stdin"
    )]
    pub password_stdin: bool,
    /// Read a token from standard input
    #[arg(long)]
    pub token_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    pub assignment: String,
    #[arg(long = "for", value_enum, default_value = "synced")]
    pub state: WaitFor,
    /// Wait until the assignment is at this commit, or one that starts so
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    Synced,
    Healthy,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// HOST:PORT of the hub
    pub endpoint: String,
    /// PEM file of the hub's CA, where the system does not trust it
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Read the token from standard input
    #[arg(long, required = true)]
    pub token_stdin: bool,
    /// The name of the new context, the host name unless set
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the contexts; the current one has a *
    List,
    /// Choose the current context
    Use { name: String },
}

fn parse_kind(text: &str) -> Result<kind::Name, String> {
    use kind::Name;
    Ok(match text.to_ascii_lowercase().as_str() {
        "cluster" | "clusters" => Name::Cluster,
        "clustergroup" | "clustergroups" | "group" | "groups" => Name::ClusterGroup,
        "repository" | "repositories" | "repo" | "repos" => Name::Repository,
        "assignment" | "assignments" => Name::Assignment,
        "jointoken" | "jointokens" | "token" | "tokens" => Name::JoinToken,
        "credential" | "credentials" => Name::Credential,
        _ => {
            return Err(
                "expected clusters, clustergroups, repositories, assignments, \
                 jointokens or credentials"
                    .into(),
            );
        }
    })
}

/// `90s`, `5m`, `1h30m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration: write 90s, 5m or 1h30m");
    let span: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
    Duration::try_from(span).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(parse_duration("-5m").is_err());
        assert!(parse_duration("soon").is_err());
    }
}
