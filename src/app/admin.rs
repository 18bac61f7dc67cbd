//! The life of the admin listener: the first to be served, the last to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::hub::Hub;
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
    /// Serves `listener`, if there is one.
    pub(super) fn start(
        listener: Option<Listener>,
        metrics: &Metrics,
        readiness: &Readiness,
        hub: &Arc<Hub>,
    ) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        if let Some(listener) = listener {
            let hub = Arc::clone(hub);
            let levels = move || levels(&hub);
            let router = admin::router(metrics.clone(), readiness.clone(), levels);
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

fn levels(hub: &Hub) -> Levels {
    let presence = hub.presence();
    Levels {
        users: presence.users,
        sessions: presence.pages,
        ..Levels::default()
    }
}
