//! Whose turn it is among the logins of one page. Who is asked about logins has so many places, and one page
//! must not take them: one login is judged at a time, and none once the page is gone.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::gateway::socketio::page::Page;

/// A login is being judged.
#[derive(Debug)]
pub(super) struct Asking {
    /// Dropped with the page.
    _stays: oneshot::Sender<Infallible>,
    /// One more waits for it: pages log in as they connect and again by the event, and renew.
    next: Option<oneshot::Sender<Gone>>,
}

/// Is dropped by its other side when the page is gone.
type Gone = oneshot::Receiver<Infallible>;

/// The turn of a login. When it is dropped the next one has it.
#[derive(Debug)]
pub(super) struct Turn {
    page: Arc<Page>,
    gone: Gone,
}

/// When a login has its turn.
#[derive(Debug)]
pub(super) enum Comes {
    Now(Turn),
    /// After the one before it.
    Next(Waiting),
    /// Not at all.
    Never,
}

/// A login that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    page: Arc<Page>,
    turn: oneshot::Receiver<Gone>,
}

impl Turn {
    /// `None` once the page is gone.
    pub(super) fn comes(page: &Arc<Page>) -> Option<Comes> {
        let mut state = page.lock();
        let asking = &mut state.as_mut()?.asking;
        let page = Arc::clone(page);
        Some(match asking {
            None => {
                let (new, gone) = Asking::begin();
                *asking = Some(new);
                Comes::Now(Self { page, gone })
            }
            Some(asking) if asking.next.is_none() => {
                let (next, turn) = oneshot::channel();
                asking.next = Some(next);
                Comes::Next(Waiting { page, turn })
            }
            Some(_) => Comes::Never,
        })
    }

    /// Waits for `verdict` for as long as the page is there; `None` when it is gone first, and then the
    /// verdict is asked for no longer.
    pub(super) async fn stays<T>(&mut self, verdict: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = &mut self.gone => None,
            verdict = verdict => Some(verdict),
        }
    }
}

impl Waiting {
    /// `None` when the page is gone first.
    pub(super) async fn comes(self) -> Option<Turn> {
        let Self { page, turn } = self;
        let gone = turn.await.ok()?;
        Some(Turn { page, gone })
    }
}

impl Asking {
    fn begin() -> (Box<Self>, Gone) {
        let (stays, gone) = oneshot::channel();
        let asking = Self {
            _stays: stays,
            next: None,
        };
        (Box::new(asking), gone)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.page.lock();
        let Some(asking) = state.as_mut().map(|state| &mut state.asking) else {
            return;
        };
        let next = asking.take().and_then(|asking| asking.next);
        if let Some(next) = next {
            let (new, gone) = Asking::begin();
            if next.send(gone).is_ok() {
                *asking = Some(new);
            }
        }
    }
}
