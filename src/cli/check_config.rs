//! `campanile check-config`: the configuration has been loaded by now, so it is sound; the files that it
//! names are read as at a start.

use std::io::Write as _;
use std::process::ExitCode;

use crate::app::App;
use crate::config::Config;

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    App::check_files(config)?;
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
