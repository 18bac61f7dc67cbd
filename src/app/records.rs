//! What is kept on disk: the store, the backlog and the chat on it, the loops that tidy it up, and
//! what one server leaves to the next.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::app::loops::Loops;
use crate::chat::Chat;
use crate::config::{self, Config};
use crate::hub::{Backlog, Commits, Hub, Recorder};
use crate::metrics::Metrics;
use crate::push::PushId;
use crate::readiness::Readiness;
use crate::store::{self, Claim, MessageStore, Options, Retention};

/// How often it is looked for what need not be kept any longer.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Records removed at a time: messages that wait to be kept get their turn in between.
const PRUNE_STEP: u32 = 1000;

/// How often a store that fails is tried, so that it is known when it is well again.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// What is written to try it; it stands where a server that stops leaves its state, and says nothing.
const PROBE: &[u8] = b"";

/// See the module's text.
#[derive(Debug)]
pub(super) struct Records {
    store: Arc<dyn MessageStore>,
    pub(super) backlog: Arc<Backlog>,
    commits: Commits,
    _claim: Option<Claim>,
}

impl Records {
    /// Opens the store, unless there is none.
    pub(super) async fn open(
        config: &Config,
        hub: &Arc<Hub>,
        metrics: &Metrics,
        readiness: &Readiness,
    ) -> anyhow::Result<Option<Self>> {
        let url = config.store.url.expose();
        if url.is_empty() {
            return Ok(None);
        }
        let options = Options {
            timeout: config.store.timeout,
        };
        // Not the url itself: it may hold a password.
        let store = store::open(url, options)
            .await
            .context("cannot open the store at store.url; store.url = \"\" does without one")?;
        let claim = store::claim(url).context("cannot open the store at store.url")?;
        let commits = Commits::new(metrics.clone(), readiness.clone());
        let figures = (commits.clone(), metrics.clone());
        let backlog = Backlog::open(Arc::clone(hub), Arc::clone(&store), config.backlog, figures);
        let backlog = backlog
            .await
            .context("cannot read the store at store.url")?;
        Ok(Some(Self {
            store,
            backlog,
            commits,
            _claim: claim,
        }))
    }

    /// Builds the chat, if it is on, and takes up what the last server has left.
    pub(super) async fn begin(
        &self,
        config: &Config,
        hub: &Arc<Hub>,
        metrics: &Metrics,
    ) -> anyhow::Result<Option<Arc<Chat>>> {
        let chat = if config.chat.is_on() {
            Some(self.chat(config, hub, metrics).await?)
        } else {
            None
        };
        // Last of all that can fail: it is there once.
        let state = self.store.take_state().await;
        take_up(hub, &state.context("cannot read the store at store.url")?);
        Ok(chat)
    }

    async fn chat(
        &self,
        config: &Config,
        hub: &Arc<Hub>,
        metrics: &Metrics,
    ) -> anyhow::Result<Arc<Chat>> {
        let newest = self.store.newest().await;
        let newest = newest.context("cannot read the store at store.url")?;
        let (store, commits) = (Arc::clone(&self.store), self.commits.clone());
        let recorder = Recorder::new(Arc::clone(hub), store, newest, commits);
        Ok(Chat::new(
            Arc::clone(hub),
            recorder,
            config.chat.clone(),
            config.http.escape_html,
            metrics.clone(),
        ))
    }

    /// Starts the loops that keep and tidy up.
    pub(super) fn start(&self, config: &config::Store, loops: &Loops, stop: &CancellationToken) {
        let backlog = Arc::clone(&self.backlog);
        loops.spawn(backlog.run(stop.clone().cancelled_owned()));
        let (store, backlog) = (Arc::clone(&self.store), Arc::clone(&self.backlog));
        loops.spawn(tidy(store, backlog, retention(config), stop.clone()));
        let (store, commits) = (Arc::clone(&self.store), self.commits.clone());
        loops.spawn(probe(store, commits, stop.clone()));
    }

    /// Leaves what the next server needs, and ends the store, once nothing uses it any more.
    pub(super) async fn close(&self, hub: &Hub) {
        let state = hub.save();
        match self.store.save_state(&state).await {
            Ok(()) => tracing::debug!(parts = state.len(), "left to the next server"),
            Err(e) => tracing::error!(
                error = &e as &dyn Error,
                "pages that come back will miss what was pushed before the stop"
            ),
        }
        self.store.close().await;
    }
}

/// Starts the loops of the chat.
pub(super) fn start_chat(chat: &Arc<Chat>, loops: &Loops, stop: &CancellationToken) {
    let recorder = Arc::clone(&chat.recorder);
    loops.spawn(recorder.run(stop.clone().cancelled_owned()));
    loops.spawn(Arc::clone(&chat.presences).run(stop.clone()));
}

/// A state that cannot be read is none: the server starts as after a crash.
fn take_up(hub: &Hub, state: &[Vec<u8>]) {
    if state.iter().all(Vec::is_empty) {
        return;
    }
    match hub.take_up(state) {
        Ok(pushes) => tracing::info!(pushes, "taken up from the last server"),
        Err(e) => tracing::warn!(
            error = &e as &dyn Error,
            "what the last server has left is not taken up"
        ),
    }
}

fn retention(config: &config::Store) -> Retention {
    Retention {
        max_age: Some(config.max_age).filter(|age| !age.is_zero()),
        max_records: Some(config.max_records).filter(|count| *count > 0),
    }
}

async fn tidy(
    store: Arc<dyn MessageStore>,
    backlog: Arc<Backlog>,
    retention: Retention,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(TIDY_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        backlog.expire().await;
        if retention.max_age.is_some() || retention.max_records.is_some() {
            prune(&*store, retention, &stop).await;
        }
    }
}

async fn prune(store: &dyn MessageStore, retention: Retention, stop: &CancellationToken) {
    loop {
        let now = PushId::now().millis();
        match store.prune(retention, now, PRUNE_STEP).await {
            Ok(1..) if !stop.is_cancelled() => {}
            Ok(_) => return,
            Err(e) => {
                tracing::warn!(error = &e as &dyn Error, "records not pruned");
                return;
            }
        }
    }
}

/// Tries a store that fails, until it does not: otherwise nobody would push who is told that it does.
async fn probe(store: Arc<dyn MessageStore>, commits: Commits, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PROBE_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if commits.is_failing() {
            let probe = [PROBE.to_vec()];
            commits.watch(store.save_state(&probe)).await.ok();
        }
    }
}
