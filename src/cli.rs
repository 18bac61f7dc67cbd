//! The command line: a file a subcommand, beyond `serve`.

pub mod bench;
mod check_config;
mod example;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::config::load::{self, Sources};

/// Realtime push server: pages connect by Socket.IO, backends push by one HTTP call.
///
/// Settings come from defaults, then a file, then the environment (such as CAMPANILE_HTTP__LISTEN),
/// then --set; later beats earlier. `campanile config` prints every key.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// Configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, as `--set http.listen=127.0.0.1:2121`; may be repeated.
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve,
    /// Print the commented example configuration.
    Config,
    /// Check the configuration, as the server would, and say what is wrong.
    CheckConfig,
    /// Measure a running server: connect pages, push, count what arrives.
    Bench(Box<bench::BenchArgs>),
}

impl Cli {
    /// Does what the command line asks for, with `environment` as the process's variables.
    ///
    /// # Errors
    /// What has to be told to the user; `main` prints it.
    pub fn run(self, environment: Vec<(String, String)>) -> anyhow::Result<ExitCode> {
        let sources = Sources {
            file: self.config,
            environment,
            flags: self.set,
        };
        let load = || -> anyhow::Result<Config> { Ok(load::load(&sources)?) };
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(load()?),
            Command::Config => example::run(),
            Command::CheckConfig => check_config::run(&load()?),
            Command::Bench(args) => bench::run(&args),
        }
    }
}
