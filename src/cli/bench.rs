//! The load tool `campanile bench`: owns its options and the course of a run.
//! One thread holds all pages in one epoll loop; a second thread
//! publishes. It works against any server that speaks like this one.

mod answer;
mod connect;
mod dialect;
mod frame;
mod pool;
mod procfs;
mod publish;
mod report;
mod round;
mod tally;
mod target;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::bench::dialect::Dialect;
use crate::cli::bench::pool::{Pool, Setup};
use crate::cli::bench::publish::{Plan, Protocol};
use crate::cli::bench::report::Report;
use crate::cli::bench::target::Target;

/// Options of `campanile bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Pages to connect, each logged in with a uid of its own (bench-0, bench-1, ...)
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,

    /// Publishes to make in each round
    #[arg(long, value_name = "N", default_value_t = 200)]
    publishes: u32,

    /// Whom each publish is for: everyone, or one random page (always so with --push text)
    #[arg(long, value_enum, default_value_t = To::All)]
    #[arg(default_value_if("push", "text", "uid"))]
    to: To,

    /// Length of a message in bytes (not below its mark of about 20 bytes); a text line is longer
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=1_048_576))]
    size: u32,

    /// What the pages speak
    #[arg(long, value_enum, default_value_t = Speech::Socketio)]
    dialect: Speech,

    /// How publishes are made
    #[arg(long, value_enum, default_value_t = Push::Http)]
    push: Push,

    /// Address pages connect to with --dialect socketio
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:2120")]
    socketio: String,

    /// Address pages connect to with --dialect uid
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:1234")]
    uid_socket: String,

    /// Address publishes are sent to with --push http
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:2121")]
    http: String,

    /// Address publishes are sent to with --push text
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5678")]
    text: String,

    /// Engine.IO revision the pages speak, 3 or 4
    #[arg(long, value_name = "REVISION", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u8).range(3..=4))]
    eio: u8,

    /// Transport of the pages
    #[arg(long, value_enum, default_value_t = Transport::Websocket)]
    transport: Transport,

    /// Process id of the server on this machine, to measure its CPU time and memory
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Connections to publish over, each with one publish in flight (see --pipeline)
    /// [default: 1 to all, 16 to uid]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: Option<u32>,

    /// Publishes in flight on each connection with --push text [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pipeline: Option<u32>,

    /// Publishes per second, 0 for as fast as they are answered
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate: u32,

    /// Publishes whose deliveries may be outstanding before the next, 0 for no bound
    #[arg(long, value_name = "N", default_value_t = 0)]
    window: u32,

    /// Connects per second, 0 for as fast as possible (100 handshakes at once)
    #[arg(long, value_name = "N", default_value_t = 0)]
    connect_rate: u32,

    /// Seconds to hold all pages idle before the publishes
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=86_400))]
    idle: u64,

    /// Seconds to wait for a login, an answer or an outstanding delivery
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,

    /// Times to connect all, publish and disconnect all
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Seconds from the disconnect of all to the memory sample after it (with --pid)
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=3600))]
    leave_wait: u64,

    /// Seed of the choice of pages with --to uid
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Speech {
    /// Socket.IO
    Socketio,
    /// A plain WebSocket whose first text is the page's uid
    Uid,
}

/// How publishes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Push {
    /// An HTTP request each
    Http,
    /// A line each, at the text port
    Text,
}

/// Whom a publish is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// Everyone
    All,
    /// One page, chosen at random
    Uid,
}

/// How pages connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Transport {
    /// WebSocket from the start
    Websocket,
}

/// Time of the run.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    /// Microseconds since the run began.
    fn micros(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

impl BenchArgs {
    fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or(match self.to {
            To::All => 1,
            To::Uid => 16,
        })
    }

    fn pipeline(&self) -> u32 {
        self.pipeline.unwrap_or(1)
    }

    /// The option that names where pages connect, and its value.
    fn page_address(&self) -> (&'static str, &str) {
        match self.dialect {
            Speech::Socketio => ("--socketio", &self.socketio),
            Speech::Uid => ("--uid-socket", &self.uid_socket),
        }
    }

    /// Where to publish.
    fn push_target(&self) -> Result<Target> {
        match self.push {
            Push::Http => Target::parse("--http", &self.http),
            Push::Text => Target::parse_text("--text", &self.text),
        }
    }

    /// Refuses options that do not go together.
    fn check(&self) -> Result<()> {
        ensure!(
            self.push == Push::Http || self.to == To::Uid,
            "--to all: a text line names one uid, give --to uid with --push text"
        );
        ensure!(
            self.push == Push::Text || self.pipeline.is_none(),
            "--pipeline {}: only with --push text",
            self.pipeline()
        );
        Ok(())
    }

    fn setup(&self, clock: Clock, target: Target) -> Setup {
        let Transport::Websocket = self.transport;
        let connections = u64::from(self.clients) * u64::from(self.rounds);
        Setup {
            clock,
            dialect: match self.dialect {
                Speech::Socketio => Dialect::SocketIo { eio: self.eio },
                Speech::Uid => Dialect::Uid,
            },
            spread: target.spreads(connections),
            target,
            clients: self.clients,
            size: self.size as usize,
            rate: self.connect_rate,
        }
    }

    fn plan(&self, clock: Clock, target: &Target, round: u32) -> Plan {
        let targets = match self.to {
            To::All => None,
            To::Uid => Some(choose(self, round)),
        };
        Plan {
            clock,
            protocol: match self.push {
                Push::Http => Protocol::Http,
                Push::Text => Protocol::Text {
                    pipeline: self.pipeline(),
                },
            },
            target: target.clone(),
            publishes: self.publishes,
            base: u64::from(round) * u64::from(self.publishes),
            size: self.size as usize,
            pages: if targets.is_some() { 1 } else { self.clients },
            targets,
            concurrency: self.concurrency(),
            rate: self.rate,
            window: self.window,
            timeout: Duration::from_secs(self.timeout),
        }
    }
}

/// Runs the load and prints what it found to standard output. Blocks until the
/// last round is over. The exit code is 0 when every round was clean (nothing
/// lost, duplicated, stray or refused, no page dropped) and 1 otherwise.
///
/// # Errors
/// When an option does not fit (a URL, the open-files limit), not all pages can
/// log in, the push address cannot be reached, the process named by `--pid` is gone, or
/// standard output fails.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    args.check()?;
    let (flag, url) = args.page_address();
    let pages = Target::parse(flag, url)?;
    let push = args.push_target()?;
    target::check_open_files(args.clients, args.concurrency())?;
    let clock = Clock(Instant::now());
    let mut pool = Pool::new(args.setup(clock, pages))?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        let plan = args.plan(clock, &push, number);
        let round = round::run(args, &mut pool, plan);
        rounds.push(match args.rounds {
            1 => round?,
            all => round.with_context(|| format!("--rounds {all}: in round {}", number + 1))?,
        });
    }
    let sum = |of: fn(&report::Publish) -> u64| rounds.iter().map(|round| of(&round.publish)).sum();
    let report = Report {
        pages: match args.dialect {
            Speech::Socketio => report::Pages::SocketIo {
                socketio: args.socketio.clone(),
                eio: args.eio,
            },
            Speech::Uid => report::Pages::Uid {
                uid_socket: args.uid_socket.clone(),
            },
        },
        publisher: match args.push {
            Push::Http => report::Publisher::Http {
                http: args.http.clone(),
            },
            Push::Text => report::Publisher::Text {
                text: args.text.clone(),
                pipeline: args.pipeline(),
            },
        },
        to: match args.to {
            To::All => "all",
            To::Uid => "uid",
        },
        clients: args.clients,
        publishes: args.publishes,
        size: args.size as usize,
        concurrency: args.concurrency(),
        lost: sum(|publish| publish.lost),
        duplicated: sum(|publish| publish.duplicated),
        clean: rounds.iter().all(|round| round.publish.clean()),
        rounds,
    };
    print(&report, args.json).context("writing the report to standard output")?;
    Ok(ExitCode::from(u8::from(!report.clean)))
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else {
        report.write_text(&mut out)?;
    }
    out.flush()
}

/// The target of each publish of a round: the same for the same seed.
fn choose(args: &BenchArgs, round: u32) -> Arc<[u32]> {
    let mut state = args.seed ^ (u64::from(round) << 32);
    (0..args.publishes)
        .map(|_| {
            // SplitMix64.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((mixed ^ (mixed >> 31)) % u64::from(args.clients)) as u32
        })
        .collect()
}

/// A progress bar on standard error, hidden when that is not a terminal.
fn progress(what: &'static str, length: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}")
        .expect("the template is constant");
    ProgressBar::new(length)
        .with_style(style)
        .with_message(what)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{BenchArgs, To};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(line: &str) -> BenchArgs {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).expect("good options").args
    }

    #[test]
    fn a_text_push_is_to_a_uid() {
        assert_eq!(args("").to, To::All);
        assert_eq!(args("--push http").to, To::All);
        let text = args("--push text");
        assert_eq!((text.to, text.concurrency()), (To::Uid, 16));
        assert!(text.check().is_ok());
    }

    #[test]
    fn options_that_do_not_go_together_are_named() {
        for (line, named) in [
            ("--push text --to all", "--to all"),
            ("--pipeline 5", "--pipeline 5"),
        ] {
            let error = args(line).check().expect_err("they do not go together");
            assert!(error.to_string().starts_with(named), "{error}");
        }
    }
}
