//! The `campanile` program. All of it is in the library; this is its start and its exit code.

use std::io::Write as _;
use std::process::ExitCode;

use campanile::cli::Cli;
use clap::Parser as _;

// Chosen by measurement; see Cargo.toml.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run(environment()) {
        Ok(code) => code,
        Err(error) => {
            // Nowhere to tell it if standard error is closed.
            writeln!(std::io::stderr(), "campanile: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

/// The variables that are text; no other can be ours.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}
