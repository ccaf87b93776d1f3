//! Arguments of the commands that steer one assignment and look at its past.

use std::time::Duration;

use clap::Args;

use super::parse_duration;
use crate::output::Format;

pub(super) const SYNC: &str = "\
Looks at the repository first. A mode Manual assignment changes by this alone; one in mode Auto
tries again what failed. It also ends a pin. --revision takes any commit reachable in the
repository; where the ref names another one, the assignment is pinned to it.

Examples:
  lockstep sync shop
  lockstep sync shop --wait --timeout 10m
  lockstep sync shop --revision 4b7d0e8        pinned until `lockstep resume shop`

With --wait, exit codes: 0 every cluster runs it, Synced and Healthy; 1 error; 4 the time ran out.";

pub(super) const DIFF: &str = "\
Asks the agents for a server-side dry run against what their clusters hold now, and prints a
unified diff for each object. Clusters that answered alike stand under one heading; values of
Secrets are masked. Nothing is changed.

Examples:
  lockstep diff shop                           what `lockstep sync shop` would change
  lockstep diff shop --ref feature --cluster eu-1
  lockstep diff shop --ref 4b7d0e8 -o json

Exit codes: 0 no differences, 1 differences, 2 an error, or a cluster gave no answer.";

pub(super) const HISTORY: &str = "\
Newest first: who or what asked for a revision, when, and how it ended; and which objects
drifted, by whom, and what was done about it.

Examples:
  lockstep history shop
  lockstep history shop --cluster eu-1 --limit 20
  lockstep history shop -o json";

pub(super) const ROLLBACK: &str = "\
Without --to: the revision before the present one that ran. The assignment is pinned to it:
`lockstep resume` goes back to the ref.

Examples:
  lockstep rollback shop --wait
  lockstep rollback shop --to 4b7d0e8

With --wait, exit codes: 0 every cluster runs it, Synced and Healthy; 1 error; 4 the time ran out.";

pub(super) const PAUSE: &str = "\
Nothing new is applied, nothing is pruned, and drift is shown but not put back, until
`lockstep resume`.

Example:
  lockstep pause shop";

pub(super) const RESUME: &str = "\
Example:
  lockstep resume shop";

pub(super) const APPROVE: &str = "\
A revision that removes more objects than the assignment's maxPrune waits for this. It holds for
that revision alone.

Example:
  lockstep approve shop";

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    pub assignment: String,
    /// A commit, or the first seven digits or more of one that the hub knows
    #[arg(
        long,
        value_name = "REV",
        default_value = "",
        hide_default_value = true
    )]
    pub revision: String,
    #[command(flatten)]
    pub stay: StayArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    pub assignment: String,
    /// A commit, or the first seven digits or more of one that the hub knows
    #[arg(
        long = "to",
        value_name = "REV",
        default_value = "",
        hide_default_value = true
    )]
    pub revision: String,
    #[command(flatten)]
    pub stay: StayArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StayArgs {
    /// Stay until every cluster runs it, Synced and Healthy
    #[arg(long)]
    pub wait: bool,
    /// How long to stay at most
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct SteerArgs {
    pub assignment: String,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    pub assignment: String,
    /// Only of this cluster
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub cluster: String,
    /// Only the newest so many; all unless set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    #[arg(short, long, default_value = "table", value_name = "FORMAT", help = Format::UNNAMED)]
    pub output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    pub assignment: String,
    /// A branch, tag or commit instead of what the assignment's ref names
    #[arg(
        long = "ref",
        value_name = "REF",
        default_value = "",
        hide_default_value = true
    )]
    pub reference: String,
    /// Only this cluster
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub cluster: String,
    /// json, yaml or jsonpath=TEMPLATE instead of the diff itself
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}
