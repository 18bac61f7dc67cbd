//! What keeps records: the store, the recorder's loop, the pruning.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chat::Chat;
use crate::config::{self, Config};
use crate::hub::{Hub, Recorder};
use crate::metrics::Metrics;
use crate::store::{self, MessageStore, Options, Retention};

/// How often records are looked for that need not be kept any longer.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// Records removed at a time: messages that wait to be kept get their turn in between.
const PRUNE_STEP: u32 = 1000;

/// Opens the store and builds the chat on it.
pub(super) async fn open_chat(
    config: &Config,
    hub: &Arc<Hub>,
    metrics: &Metrics,
) -> anyhow::Result<Arc<Chat>> {
    let options = Options {
        timeout: config.store.timeout,
    };
    let opened = store::open(config.store.url.expose(), options).await;
    // Not the url itself: it may hold a password.
    let store = opened.context("cannot open the store at store.url")?;
    let newest = store
        .newest()
        .await
        .context("cannot read the store at store.url")?;
    let recorder = Recorder::new(Arc::clone(hub), store, newest);
    let escape = config.http.escape_html;
    Ok(Chat::new(
        Arc::clone(hub),
        recorder,
        config.chat.clone(),
        escape,
        metrics.clone(),
    ))
}

/// Starts the loops that keep records, tell of presence, and prune.
pub(super) fn keep(
    chat: &Arc<Chat>,
    config: &config::Store,
    loops: &TaskTracker,
    stop: &CancellationToken,
) {
    let recorder = Arc::clone(&chat.recorder);
    loops.spawn(recorder.run(stop.clone().cancelled_owned()));
    loops.spawn(Arc::clone(&chat.presences).run(stop.clone()));
    let retention = Retention {
        max_age: Some(config.max_age).filter(|age| !age.is_zero()),
        max_records: Some(config.max_records).filter(|count| *count > 0),
    };
    if retention.max_age.is_some() || retention.max_records.is_some() {
        let store = Arc::clone(chat.recorder.store());
        loops.spawn(prune(store, retention, stop.clone()));
    }
}

/// Ends the store, once nothing uses it any more.
pub(super) async fn close(chat: &Chat) {
    chat.recorder.store().close().await;
}

async fn prune(store: Arc<dyn MessageStore>, retention: Retention, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PRUNE_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
            match store.prune(retention, now, PRUNE_STEP).await {
                Ok(1..) if !stop.is_cancelled() => {}
                Ok(_) => break,
                Err(e) => {
                    tracing::warn!(error = &e as &dyn std::error::Error, "records not pruned");
                    break;
                }
            }
        }
    }
}
