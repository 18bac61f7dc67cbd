//! The log and the cursors as one server leaves them to the next: lines of JSON, in parts. Knows no
//! store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::group::{Group, InvalidGroup};
use crate::hub::Hub;
use crate::hub::cursors::Cursor;
use crate::push::{Content, Push, PushId, Recorded, Target};
use crate::record::RecordId;
use crate::uid::{InvalidUid, Uid};

/// A part is closed when it is longer than this.
const PART: usize = 1024 * 1024;

/// What the lines are; another version is not read.
const VERSION: u32 = 2;

/// Why a saved state is not taken up.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// A line is not what it should be.
    #[error("a line of it cannot be read")]
    Line(#[from] serde_json::Error),
    /// It was left by another version.
    #[error("it is of version {0}, this server reads version {VERSION}")]
    Version(u32),
    /// It does not begin as it should.
    #[error("it has no head")]
    NoHead,
    /// A name in it is none.
    #[error("it names a user that cannot be")]
    Uid(#[from] InvalidUid),
    /// The same, of a group.
    #[error("it names a group that cannot be")]
    Group(#[from] InvalidGroup),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Head {
        version: u32,
        floor: u64,
        newest: u64,
        everyone: u64,
        groups: u64,
        others: u64,
    },
    Push(SavedPush),
    Cursor {
        uid: String,
        at: u64,
        left: u64,
        pages: usize,
        groups: Vec<String>,
    },
    Evicted(String, u64),
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedPush {
    id: u64,
    to: SavedTarget,
    event: String,
    /// `None` when it is the same as `event`.
    frame: Option<String>,
    stamped: bool,
    record: Option<SavedRecord>,
    parcel: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedTarget {
    Everyone,
    Users(Vec<String>),
    Group(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedRecord {
    id: u64,
    at: u64,
    sender: Option<String>,
}

impl Hub {
    /// What a page needs that comes back to the next server. Nothing where nothing is recovered.
    #[must_use]
    pub fn save(&self) -> Vec<Vec<u8>> {
        let log = self.log();
        if !log.is_on() {
            return Vec::new();
        }
        let head = Line::Head {
            version: VERSION,
            floor: log.floor().0,
            newest: log.newest().0,
            everyone: log.evicted.everyone.0,
            groups: log.evicted.groups.0,
            others: log.evicted.others.0,
        };
        let evicted = log.evicted.iter();
        let evicted = evicted.map(|(uid, id)| Line::Evicted(uid.as_str().to_owned(), id.0));
        let pushes = log.entries().filter_map(|push| saved(push)).map(Line::Push);
        let cursors = log.cursors.iter().map(|(uid, cursor)| Line::Cursor {
            uid: uid.as_str().to_owned(),
            at: cursor.at.0,
            left: cursor.left.0,
            pages: cursor.pages,
            groups: cursor.groups.iter().map(ToString::to_string).collect(),
        });
        let mut parts = vec![Vec::new()];
        for line in [head]
            .into_iter()
            .chain(evicted)
            .chain(pushes)
            .chain(cursors)
        {
            if parts.last().is_some_and(|part| part.len() > PART) {
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut() {
                serde_json::to_writer(&mut *part, &line).expect("plain data is written to memory");
                part.push(b'\n');
            }
        }
        parts
    }

    /// Takes up what the server before this one has left; says how many pushes it was. Call it before
    /// anything is accepted.
    ///
    /// # Errors
    /// When it is not what [`Hub::save`] gave; then nothing is taken up.
    pub fn take_up(&self, parts: &[Vec<u8>]) -> Result<usize, SavedError> {
        let mut lines = parts
            .iter()
            .flat_map(|part| part.split(|byte| *byte == b'\n'));
        let head = lines.next().ok_or(SavedError::NoHead)?;
        let Line::Head {
            version,
            floor,
            newest,
            everyone,
            groups,
            others,
        } = serde_json::from_slice(head)?
        else {
            return Err(SavedError::NoHead);
        };
        if version != VERSION {
            return Err(SavedError::Version(version));
        }
        let (mut pushes, mut cursors, mut evicted) = (Vec::new(), Vec::new(), Vec::new());
        for line in lines.filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line)? {
                Line::Head { .. } => return Err(SavedError::NoHead),
                Line::Evicted(uid, id) => evicted.push((Uid::parse(&uid)?, PushId(id))),
                Line::Push(push) => pushes.push(taken_up(push)?),
                Line::Cursor {
                    uid,
                    at,
                    left,
                    pages,
                    groups,
                } => {
                    let groups = groups.iter().map(|group| Group::parse(group));
                    let cursor = Cursor {
                        at: PushId(at),
                        left: PushId(left),
                        pages: pages.max(1),
                        groups: groups.collect::<Result<_, _>>()?,
                    };
                    cursors.push((Uid::parse(&uid)?, cursor));
                }
            }
        }
        let count = pushes.len();
        let mut log = self.log();
        cursors.sort_by_key(|(_, cursor)| cursor.left);
        for (uid, cursor) in cursors {
            log.cursors.put(uid, cursor);
        }
        log.evicted.everyone = PushId(everyone);
        log.evicted.groups = PushId(groups);
        log.evicted.others = PushId(others);
        for (uid, id) in evicted {
            log.evicted.note(uid, id);
        }
        log.take_up((PushId(floor), PushId(newest)), pushes);
        Ok(count)
    }
}

fn saved(push: &Push) -> Option<SavedPush> {
    let content = &push.content;
    let is_same = Arc::ptr_eq(&content.event, &content.frame);
    Some(SavedPush {
        id: push.id.0,
        to: match &push.target {
            Target::Everyone => SavedTarget::Everyone,
            Target::Users(uids) => {
                SavedTarget::Users(uids.iter().map(|uid| uid.as_str().to_owned()).collect())
            }
            Target::Group(group) => SavedTarget::Group(group.as_str().to_owned()),
            Target::Topic(_) => return None,
        },
        event: content.event.as_ref().to_owned(),
        frame: (!is_same).then(|| content.frame.as_ref().to_owned()),
        stamped: content.stamped,
        record: push.record.as_ref().map(|record| SavedRecord {
            id: record.id.0,
            at: record.at,
            sender: record.sender.as_ref().map(|uid| uid.as_str().to_owned()),
        }),
        parcel: push.parcel.map(|PushId(id)| id),
    })
}

fn taken_up(saved: SavedPush) -> Result<Push, SavedError> {
    let event: Arc<str> = saved.event.into();
    let record = saved.record.map(|record| {
        Ok::<_, SavedError>(Recorded {
            id: RecordId(record.id),
            at: record.at,
            sender: record.sender.as_deref().map(Uid::parse).transpose()?,
        })
    });
    Ok(Push {
        id: PushId(saved.id),
        target: match saved.to {
            SavedTarget::Everyone => Target::Everyone,
            SavedTarget::Users(uids) => {
                let uids = uids.iter().map(|uid| Uid::parse(uid));
                Target::Users(uids.collect::<Result<_, _>>()?)
            }
            SavedTarget::Group(group) => Target::Group(Group::parse(&group)?),
        },
        content: Content {
            frame: saved.frame.map_or_else(|| Arc::clone(&event), Arc::from),
            event,
            stamped: saved.stamped,
        },
        record: record.transpose()?,
        parcel: saved.parcel.map(PushId),
    })
}
