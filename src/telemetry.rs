//! The tracing subscriber. Logs go to standard error; standard output is for what was asked for.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Log, LogFormat};

/// Starts logging for this process. Once only, so it belongs to `main`.
///
/// # Errors
/// When logging has been started already.
pub fn init(config: &Log) -> Result<(), TryInitError> {
    // A configuration that was not validated logs at the default.
    let targets = parse_level(&config.level).unwrap_or_default();
    let lines = fmt::layer().with_writer(std::io::stderr);
    let layer = match config.format {
        LogFormat::Pretty => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init()
}

/// Reads `log.level`.
pub(crate) fn parse_level(level: &str) -> Result<Targets, String> {
    // `Targets` takes a bare word that is no level as the name of a target to trace.
    let is_level = |level: &str| level.trim().parse::<LevelFilter>().is_ok();
    let is_directive = |part: &str| match part.split_once('=') {
        Some((_, level)) => is_level(level),
        None => is_level(part),
    };
    level
        .split(',')
        .all(is_directive)
        .then(|| level.parse().ok())
        .flatten()
        .ok_or_else(|| {
            "expected off, error, warn, info, debug or trace, or target=level pairs with commas"
                .to_owned()
        })
}
