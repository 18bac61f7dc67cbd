//! `campanile check-config`: the configuration has been loaded by now, so it is sound.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::Config;

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    for (listener, address) in config.listeners() {
        match address {
            Some(address) => writeln!(out, "{listener}: {address}")?,
            None => writeln!(out, "{listener}: off")?,
        }
    }
    writeln!(out, "the configuration is sound")?;
    Ok(ExitCode::SUCCESS)
}
