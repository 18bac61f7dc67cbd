//! The tracing subscriber. Logs go to standard error; standard output is for what was asked for.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Log, LogFormat};

/// Starts logging for this process. Once only, so it belongs to `main`.
///
/// # Errors
/// When logging has been started already.
pub fn init(config: &Log) -> Result<(), TryInitError> {
    // A configuration that was not validated logs nothing.
    let targets: Targets = config.level.parse().unwrap_or_default();
    // Colours are for people: files and journals get none.
    let is_seen = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(is_seen);
    let layer = match config.format {
        LogFormat::Pretty => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init()
}
