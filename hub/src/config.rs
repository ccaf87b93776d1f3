//! What a person can set, and where: flags before environment variables
//! before the YAML file of `--config` before defaults.

mod file;
mod host_port;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use host_port::HostPort;

const DEFAULT_LISTEN: &str = "127.0.0.1:7443";
const DEFAULT_HTTP: &str = "127.0.0.1:7080";
const DEFAULT_LOG: &str = "info";

const EXAMPLES: &str = "\
Examples:
  # A hub for trying things on this machine; DIR/admin.yaml is the CLI's context
  lockstep-hub serve --data-dir ./hub
  LOCKSTEP_CONFIG=./hub/admin.yaml lockstep get clusters

  # A hub that agents elsewhere dial by name
  lockstep-hub serve --data-dir /var/lib/lockstep --listen 0.0.0.0:7443 \\
      --http 0.0.0.0:7080 --advertise hub.example.com:7443

  # The same from a file: dataDir, listen, http, advertise, ...
  lockstep-hub serve --config /etc/lockstep/hub.yaml

  # Only what went wrong, as JSON
  LOCKSTEP_LOG=warn lockstep-hub serve --data-dir ./hub --log-format json";

/// The Lockstep hub: maps Git repositories to groups of Kubernetes clusters.
#[derive(Debug, Parser)]
#[command(name = "lockstep-hub", version, about, after_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the hub until SIGTERM or Ctrl-C
    ///
    /// The first start on an empty folder makes a certificate authority, a
    /// server certificate, the database, and DIR/admin.yaml: a context for
    /// the `lockstep` command with an administrator's token. Later starts keep
    /// all of it.
    #[command(after_help = EXAMPLES)]
    Serve(ServeArgs),
}

#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Folder that holds everything the hub must not lose
    #[arg(long, value_name = "DIR", env = "LOCKSTEP_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// gRPC over TLS, for agents and people; port 0 picks a free one [default: 127.0.0.1:7443]
    #[arg(long, value_name = "HOST:PORT", env = "LOCKSTEP_LISTEN")]
    pub listen: Option<HostPort>,

    /// Webhooks, metrics and health over plain HTTP; port 0 picks a free one [default: 127.0.0.1:7080]
    #[arg(long, value_name = "HOST:PORT", env = "LOCKSTEP_HTTP")]
    pub http: Option<HostPort>,

    /// What agents and people dial; a name in the server certificate [default: the --listen address]
    #[arg(long, value_name = "HOST:PORT", env = "LOCKSTEP_ADVERTISE")]
    pub advertise: Option<HostPort>,

    /// Take repositories with file:// URLs: whoever may create a Repository then reads this machine's Git repositories
    #[arg(
        long,
        value_name = "BOOL",
        env = "LOCKSTEP_ALLOW_FILE_REPOSITORIES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub allow_file_repositories: Option<bool>,

    /// The same settings in YAML: dataDir, listen, http, advertise, allowFileRepositories, log, logFormat
    #[arg(long, value_name = "FILE", env = "LOCKSTEP_CONFIG")]
    pub config: Option<PathBuf>,

    /// What to log: error, warn, info, debug, trace, or filters like lockstep_hub::git=debug [default: info]
    #[arg(long, value_name = "FILTER", env = "LOCKSTEP_LOG")]
    pub log: Option<String>,

    /// How to log, on stderr [default: text]
    #[arg(long, value_name = "FORMAT", env = "LOCKSTEP_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    Text,
    /// One object a line
    Json,
}

/// What holds in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub listen: HostPort,
    pub http: HostPort,
    pub advertise: Option<HostPort>,
    pub allow_file_repositories: bool,
    pub log: String,
    pub log_format: LogFormat,
    /// What should be said once there is a log.
    pub notes: Vec<String>,
}

/// Settings that make no sense: wrong usage.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "the folder for the hub's data is missing: give --data-dir DIR (or LOCKSTEP_DATA_DIR, or \
         dataDir in the --config file), for example --data-dir /var/lib/lockstep"
    )]
    NoDataDir,
    #[error("cannot read the --config file {path}: {cause}: check the path and its permissions")]
    Unreadable {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error(
        "the --config file {path} is not right: {cause}: it takes dataDir, listen, http, \
         advertise, allowFileRepositories, log and logFormat"
    )]
    Malformed { path: PathBuf, cause: String },
    #[error(
        "{path} is a context of the `lockstep` command, not a configuration of the hub: \
         leave --config out, or give a file with dataDir, listen, ..."
    )]
    Context { path: PathBuf },
    #[error(
        "the log filter {filter:?} is not right: {cause}: use error, warn, info, debug, trace, or \
         filters like lockstep_hub::git=debug,info"
    )]
    Filter { filter: String, cause: String },
}

impl ServeArgs {
    /// Puts flags, environment and the `--config` file together.
    /// `config_from_environment`: `--config` was not typed.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn settle(self, config_from_environment: bool) -> Result<Settings, ConfigError> {
        let mut notes = Vec::new();
        let file = match &self.config {
            None => file::File::default(),
            Some(path) => match file::read(path) {
                // The `lockstep` command reads the same variable.
                Err(ConfigError::Context { path }) if config_from_environment => {
                    notes.push(format!(
                        "LOCKSTEP_CONFIG names {}, a context of the `lockstep` command: not read",
                        path.display()
                    ));
                    file::File::default()
                }
                other => other?,
            },
        };
        let log = self.log.or(file.log);
        let log = log.unwrap_or_else(|| DEFAULT_LOG.to_owned());
        if let Err(cause) = tracing_subscriber::EnvFilter::try_new(&log) {
            return Err(ConfigError::Filter {
                filter: log,
                cause: cause.to_string(),
            });
        }
        let default = |text: &str| text.parse::<HostPort>().expect("defaults are well formed");
        Ok(Settings {
            data_dir: self
                .data_dir
                .or(file.data_dir)
                .filter(|dir| !dir.as_os_str().is_empty())
                .ok_or(ConfigError::NoDataDir)?,
            listen: self
                .listen
                .or(file.listen)
                .unwrap_or_else(|| default(DEFAULT_LISTEN)),
            http: self
                .http
                .or(file.http)
                .unwrap_or_else(|| default(DEFAULT_HTTP)),
            advertise: self.advertise.or(file.advertise),
            allow_file_repositories: self
                .allow_file_repositories
                .or(file.allow_file_repositories)
                .unwrap_or(false),
            log,
            log_format: self
                .log_format
                .or(file.log_format)
                .unwrap_or(LogFormat::Text),
            notes,
        })
    }
}

#[cfg(test)]
mod tests;
