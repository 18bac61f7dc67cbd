//! `campanile serve`: runs the server until a signal.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::App;
use crate::config::Config;
use crate::telemetry;

pub(super) fn run(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&config.log).context("cannot start logging")?;
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

/// `SIGTERM` of a service manager and `SIGINT` of a terminal.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
