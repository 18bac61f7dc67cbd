//! `campanile config`: prints the commented example.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(config::EXAMPLE.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
