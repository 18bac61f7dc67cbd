//! How the server stops: pages are sent away while pushes are still answered, then no more pushes, then
//! what is left to the next server.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::app::loops::Loops;
use crate::config;
use crate::gateway::websocket::Drain;

/// How long pushes in flight may take to be answered once the server stops.
const PUSHES_END: Duration = Duration::from_secs(2);

/// How long the last answers to pages may take once every page has been said goodbye to.
const GOODBYE: Duration = Duration::from_millis(500);

/// How long pages may take to go after the last goodbye.
const LINGER: Duration = Duration::from_secs(1);

/// What stops, in this order.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// New pages.
    pub(super) accepting: CancellationToken,
    pub(super) pushes: CancellationToken,
    pub(super) loops: CancellationToken,
}

pub(super) struct Running {
    /// The pages of raw websockets.
    pub(super) drain: Drain,
    pub(super) stop: Stop,
    pub(super) pushes: TaskTracker,
    pub(super) pages: TaskTracker,
    pub(super) loops: Loops,
}

impl App {
    /// What is left of the grace is for what comes after.
    pub(super) fn drain_time(&self) -> Duration {
        let config::Shutdown { grace, drain } = self.config.shutdown;
        drain.min(grace / 2)
    }

    /// What each step of the stop may take, but for the drain.
    fn share(&self) -> Duration {
        self.config.shutdown.grace / 10
    }

    /// How long pages may take that are slow to go.
    pub(super) fn patience(&self) -> Duration {
        LINGER.min(self.share())
    }

    pub(super) async fn stop(&self, running: Running) {
        let Running {
            drain,
            stop,
            pushes,
            pages,
            loops,
        } = running;
        // Pages that are sent away must not come back to a server that is leaving.
        self.hub.leave();
        stop.accepting.cancel();
        drain.begin();
        // With the drain that leaves a part of the grace for the store, whatever the others take.
        let share = self.share();
        let (time, patience) = (self.drain_time(), self.patience());
        tokio::join!(
            self.gateway.drain(&self.hub, time, patience),
            drain.is_over()
        );
        stop.pushes.cancel();
        pushes.close();
        // A push that dribbles must not cost the pages their goodbye.
        let patience = PUSHES_END.min(share);
        tokio::time::timeout(patience, pushes.wait()).await.ok();
        // It waits for pages that do not read; the records that wait must not be lost for them.
        tokio::time::timeout(share, self.gateway.close()).await.ok();
        pages.close();
        // The goodbyes of long polls are on their way. A poll whose session never joined, or has
        // left, the namespace gets none and would wait for its heartbeat.
        tokio::time::timeout(GOODBYE.min(share), pages.wait())
            .await
            .ok();
        stop.loops.cancel();
        loops.end().await;
        if let Some(records) = &self.records {
            records.close(&self.hub).await;
        }
    }
}
