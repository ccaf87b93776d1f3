//! Log lines on stderr.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// From here on everything is logged as `LOCKSTEP_LOG` says.
///
/// # Errors
/// `LOCKSTEP_LOG` is not a filter.
pub fn start(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var("LOCKSTEP_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter)
            .with_context(|| format!("LOCKSTEP_LOG={filter:?} is not a log filter"))?,
        _ => EnvFilter::new("info"),
    };
    let lines = layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            Box::new(lines.with_ansi(colour)) as Box<dyn tracing_subscriber::Layer<_> + Send + Sync>
        }
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Ok(())
}
