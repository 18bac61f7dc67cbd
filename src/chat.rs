//! The chat: messages of pages to users and groups, kept before they are delivered. Knows the hub
//! and its recorder; knows no wire, so that every gateway can carry it.

pub(crate) mod answer;
mod catch_up;
mod history;
mod membership;
mod presence;
pub(crate) mod request;
mod up_to_date;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{self, EscapeHtml, Strategy};
use crate::group::Group;
use crate::hub::{Hub, Keep, KeepError, Kept, Recorder};
use crate::metrics::{Ingress, Metrics, Outcome};
use crate::php::escape::escape;
use crate::push::{Content, Push, Target};
use crate::record::{Addressee, Draft, RecordId};
use crate::uid::Uid;
pub(crate) use catch_up::{Step, Stepped, catch_up};
pub(crate) use history::history;
pub(crate) use membership::{InFlight, JoinedGroups};
pub(crate) use presence::{Presences, Watching};
use request::{Limits, Recipient};
pub(crate) use up_to_date::{UpToDate, UpToDatePage};

/// What all chat pages share.
#[derive(Debug)]
pub struct Chat {
    pub(crate) hub: Arc<Hub>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) config: config::Chat,
    /// How Socket.IO pages get what other pages wrote.
    pub(crate) escape: EscapeHtml,
    pub(crate) presences: Arc<Presences>,
    pub(crate) up_to_date: Arc<UpToDate>,
    metrics: Metrics,
}

/// Why a message of a page is refused; told to the page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Only who hears a group may talk to it.
    #[error("group {0:?}: join it first")]
    NotJoined(Group),
    #[error("{0} groups are joined already, which is the most")]
    TooManyGroups(usize),
    #[error("the server is busy, try again")]
    Busy,
    /// It may have been kept all the same, when the store's answer was lost.
    #[error("the store is unavailable, try again: the message was not delivered")]
    Store,
    #[error("the store is unavailable, try again: nothing was read")]
    Unread,
}

/// A message of a page, ready to be kept.
pub(crate) struct Message {
    pub(crate) sender: Uid,
    pub(crate) recipient: Recipient,
    /// What is kept, and what raw pages get.
    pub(crate) body: Arc<str>,
    /// What Socket.IO pages get, not yet escaped; `None`: the body.
    pub(crate) event: Option<String>,
}

impl Chat {
    /// A chat that keeps by `recorder`.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        recorder: Arc<Recorder>,
        config: config::Chat,
        escape: EscapeHtml,
        metrics: Metrics,
    ) -> Arc<Self> {
        let presences = Presences::new(Arc::clone(&hub), config.presence_grace);
        Arc::new(Self {
            hub,
            recorder,
            config,
            escape,
            presences,
            up_to_date: Arc::default(),
            metrics,
        })
    }

    /// What bounds a request.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_addressees: self.config.max_addressees,
            stamps: self.config.stamp,
        }
    }

    /// Keeps a message, then delivers it, then calls `done`, in the order of the records.
    pub(crate) fn send(
        &self,
        message: Message,
        done: impl FnOnce(Result<Kept, SendError>) + Send + 'static,
    ) {
        let (target, addressees) = match message.recipient {
            Recipient::Users(uids) => {
                let addressees = uids.iter().cloned().map(Addressee::User).collect();
                (Target::Users(uids.into()), addressees)
            }
            Recipient::Group(group) => {
                let addressees = [Addressee::Group(group.clone())].into();
                (Target::Group(group), addressees)
            }
        };
        let push = (self.config.strategy != Strategy::StoreOnly).then(|| {
            let event = message.event.as_deref().unwrap_or(&message.body);
            let content = Content {
                frame: Arc::clone(&message.body),
                event: escape(event.as_bytes(), self.escape).into(),
                stamped: self.config.stamp,
            };
            Push::new(target, content)
        });
        let draft = Draft {
            at: now(),
            sender: Some(message.sender),
            addressees,
            body: message.body,
        };
        let (metrics, delivers) = (self.metrics.clone(), push.is_some());
        let done = move |kept: Result<Kept, KeepError>| {
            metrics.pushed(Ingress::Chat, outcome(&kept, delivers));
            done(kept.map_err(|fault| match fault {
                KeepError::Busy => SendError::Busy,
                KeepError::Store(_) => SendError::Store,
            }));
        };
        self.recorder.keep(Keep {
            draft,
            push,
            done: Box::new(done),
        });
    }

    /// Notes a message that was refused before it could be sent.
    pub(crate) fn note_refused(&self) {
        self.metrics.pushed(Ingress::Chat, Outcome::Fail);
    }

    /// What a page of `uid` that logs in has missed, when it says that it knows all up to `asked`.
    /// Ask once the page can be found by pushes.
    pub(crate) fn missed(&self, uid: &Uid, asked: Option<RecordId>) -> Missed {
        match asked {
            // A number that is yet to come is from another store; it tells nothing.
            Some(since) if since <= self.recorder.begun() => Missed::Since(since),
            _ if self.follows() && !self.up_to_date.has(uid) => Missed::Cursor,
            _ => Missed::Nothing,
        }
    }

    /// Whether users get at a login what came while they were away.
    pub(crate) fn follows(&self) -> bool {
        self.config.strategy == Strategy::LiveAndOffline
    }
}

fn outcome(kept: &Result<Kept, KeepError>, delivers: bool) -> Outcome {
    match kept {
        Ok(kept) if delivers && kept.delivered == 0 => Outcome::Offline,
        Ok(_) => Outcome::Ok,
        Err(_) => Outcome::Unkept,
    }
}

/// What a page that logs in has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missed {
    Nothing,
    /// What came after this record.
    Since(RecordId),
    /// What came after the user's cursor in the store.
    Cursor,
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
