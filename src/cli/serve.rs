//! `campanile serve`: runs the server until a signal.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::App;
use crate::config::Config;
use crate::telemetry;

/// The most files that are asked for: a million pages are more than memory holds.
const MOST_FILES: u64 = 1 << 20;

pub(super) fn run(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&config.log).context("cannot start logging")?;
    open_more_files();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let code = runtime.block_on(serve(config));
    // Whatever is left after the grace is not waited for.
    runtime.shutdown_background();
    code
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let app = App::bind(config).await?;
    let (first, stopping) = tokio::sync::oneshot::channel();
    let running = app.run(async {
        // An error means that the sender is gone, and with it the wait for a signal.
        stopping.await.ok();
    });
    let twice = async {
        signals.next().await;
        first.send(()).ok();
        signals.next().await;
    };
    tokio::select! {
        stopped = running => stopped.map(|()| ExitCode::SUCCESS),
        () = twice => {
            tracing::warn!("second signal: stopping at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Lets the process open as many files as it may, each page being one: many systems start with 1,024 and
/// allow far more to who asks.
fn open_more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(MOST_FILES, |most| most.min(MOST_FILES));
    if limit.current.is_none_or(|files| files >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %e, "cannot open more files than the system's default");
    }
}

/// `SIGTERM` of a service manager and `SIGINT` of a terminal. `SIGHUP`, which has certificates read again,
/// must not end a server that has none.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    _hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
