//! The life of the admin listener: the first to be served, the last to stop.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::auth::api_keys::Keys;
use crate::hub::{Backlog, Hub};
use crate::metrics::{Levels, Metrics};
use crate::net::Listener;
use crate::readiness::Readiness;

/// How long its last answers may take once everything else has ended.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// The admin listener, served until it is stopped or dropped.
#[derive(Debug)]
pub(super) struct Admin {
    stop: DropGuard,
    tasks: TaskTracker,
}

impl Admin {
    /// Serves `listener`, if there is one. The backlog is told of once it is open.
    pub(super) fn start(
        listener: Option<Listener>,
        (metrics, readiness): (&Metrics, &Readiness),
        keys: &Arc<Keys>,
        (hub, backlog): (&Arc<Hub>, &Arc<OnceLock<Arc<Backlog>>>),
    ) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        if let Some(listener) = listener {
            let (hub, backlog) = (Arc::clone(hub), Arc::clone(backlog));
            let levels = move || levels(&hub, backlog.get());
            let asks = (Arc::clone(keys), listener.address());
            let router = admin::router(metrics.clone(), readiness.clone(), asks, levels);
            let each = move |_| router.clone();
            tasks.spawn(listener.serve(each, stop.clone(), tasks.clone()));
        }
        let stop = stop.drop_guard();
        Self { stop, tasks }
    }

    /// Stops, when all else has ended.
    pub(super) async fn stop(self) {
        drop(self.stop);
        self.tasks.close();
        tokio::time::timeout(LAST_ANSWERS, self.tasks.wait())
            .await
            .ok();
    }
}

fn levels(hub: &Hub, backlog: Option<&Arc<Backlog>>) -> Levels {
    let (presence, log) = (hub.presence(), hub.log_size());
    let backlog = backlog.map(|backlog| backlog.size()).unwrap_or_default();
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Levels {
        users: presence.users,
        sessions: presence.pages,
        log_messages: log.messages,
        log_bytes: log.bytes,
        backlog_messages: number(backlog.messages),
        backlog_bytes: number(backlog.bytes),
    }
}
