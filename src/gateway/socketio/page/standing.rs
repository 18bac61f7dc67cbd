//! How a page comes to hear messages: from its connect, by its login, through what it has missed, to
//! what is live.

use std::sync::Arc;

use socketioxide::extract::SocketRef;

use crate::auth::Admitted;
use crate::gateway::entrance;
use crate::gateway::ledger::End;
use crate::gateway::parcels::{Parcels, Since};
use crate::gateway::rooms::{Member, Room};
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::claim::Login;
use crate::gateway::socketio::egress::Place;
use crate::gateway::socketio::link::{Apart, Link};
use crate::gateway::socketio::newcomers::Newcomer;
use crate::gateway::socketio::packet::Packet;
use crate::gateway::socketio::page::admission::Tell;
use crate::gateway::socketio::page::answer::Answer;
use crate::gateway::socketio::page::{BREATH, Lobby, Page, State};
use crate::gateway::socketio::talk::{Rest, Talk};
use crate::group::Group;
use crate::hub::{Audience, Beginning, Handed, Read, Reading, Recovered, Session, Standstill};
use crate::limits::Over;
use crate::metrics::Reason;
use crate::push::PushId;
use crate::uid::Uid;

/// What a page hears.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nothing yet, since it may be about to log in: it is handed what is for everyone when it has,
    /// or has not for long enough.
    New(Reading),
    /// What is for everyone, after this one.
    Guest(PushId, Place),
    /// What it has missed.
    Reading(Reading),
    /// What is for everyone, and for its user.
    Live { _places: Vec<Place> },
}

impl Standing {
    pub(super) fn new(newest: PushId) -> Self {
        Self::New(Reading {
            uid: None,
            groups: Vec::new(),
            at: newest,
            heard: Some((newest, newest)),
        })
    }

    /// Up to which message the page has been handed what is for it; `newest` is the newest there is.
    pub(super) fn handed(&self, newest: PushId) -> PushId {
        match self {
            Self::New(reading) | Self::Reading(reading) => reading.at,
            Self::Guest(..) | Self::Live { .. } => newest,
        }
    }

    /// A group that the page has left is not read any further.
    pub(super) fn keeps_to(&mut self, talk: &Talk) {
        if let Self::Reading(reading) = self {
            reading.groups.retain(|group| talk.is_in(group));
        }
    }

    /// What is for everyone that the page has had: after the first of these, up to the second.
    fn heard(&self, newest: PushId) -> Option<(PushId, PushId)> {
        match self {
            Self::New(reading) => reading.heard.map(|(from, _)| (from, reading.at)),
            Self::Guest(from, _) => Some((*from, newest)),
            Self::Reading(_) | Self::Live { .. } => None,
        }
    }
}

impl Page {
    /// Where nothing is recovered, any page hears what is for everyone from now on.
    pub(super) fn may_hear_as_guest(&self) {
        let hub = &self.house.lobby.hub;
        let recovers = hub.between_pushes(|still| still.recovers());
        if !recovers && self.hears_as_guest() == Some(true) {
            self.house.newcomers.remove(self.link.sid);
        }
    }

    /// The page is somebody from now on, or a guest. It is told so before it gets what it has missed:
    /// it must know where it begins.
    pub(super) fn begins(
        self: &Arc<Self>,
        socket: &SocketRef,
        login: Login,
        admitted: Option<Admitted>,
        tell: Tell,
    ) -> Option<Rest> {
        let mut guard = self.lock();
        let state = guard.as_mut()?;
        if let Some(session) = &state.session {
            // Two logins were judged at a time.
            let answer = Answer::second(session.uid());
            drop(guard);
            tell.refused(socket, &answer, true);
            return None;
        }
        let expires = admitted.as_ref().and_then(|admitted| admitted.expires);
        // In one step: who is counted is found by every push that comes after.
        let begun = self.house.lobby.hub.between_pushes(|still| {
            if let Err(over) = self.may_open(admitted.as_ref()) {
                return Err((over, tell));
            }
            // Before it is counted, so that whoever is told that it is there can send it away.
            let uid = admitted.as_ref().map(|admitted| admitted.uid.clone());
            let rooms = &self.house.egress.arriving;
            let found = uid.map(|uid| rooms.enter(Room::User(uid), &self.link));
            let (answer, parcels) = self.begin(state, (login, admitted), socket, still);
            tell.begun(socket, &answer);
            let read = match parcels {
                // They come first.
                Some(_) => Read::More,
                None => self.read(state, socket, still),
            };
            Ok((parcels, read, found))
        });
        if let (Ok(_), Some(_)) = (&begun, expires) {
            let until = entrance::deadline(expires);
            self.house.expiries.set(self.link.sid, until, self);
        }
        drop(guard);
        let (parcels, read, found) = match begun {
            Ok(begun) => begun,
            Err((over, tell)) => {
                self.is_refused(socket, &over.into(), tell);
                return None;
            }
        };
        self.house.newcomers.remove(self.link.sid);
        self.house.announcer.greet(socket);
        // For nearly every page that was all.
        (read == Read::More).then(|| self.read_on(parcels, found))
    }

    /// Whether the user may have one more page.
    fn may_open(&self, admitted: Option<&Admitted>) -> Result<(), Over> {
        let Some(Admitted { uid, .. }) = admitted else {
            return Ok(());
        };
        let Lobby { hub, entrance, .. } = &self.house.lobby;
        entrance.limits.user_opens(hub.sessions(uid))
    }

    /// Counts the session, and finds out where it begins.
    fn begin(
        &self,
        state: &mut State,
        (login, admitted): (Login, Option<Admitted>),
        socket: &SocketRef,
        still: &mut Standstill<'_>,
    ) -> (AsciiJson, Option<Parcels>) {
        let newest = still.newest();
        let since = login.since.map(|since| since.id);
        let (uid, granted) = match admitted {
            Some(Admitted { uid, groups, .. }) => (Some(uid), groups),
            None => (None, Vec::new()),
        };
        let beginning = match &uid {
            Some(uid) => self.beginning(uid, since, &granted, still),
            None => Beginning {
                after: newest,
                recovered: Recovered::New,
                groups: Vec::new(),
            },
        };
        state.granted = granted;
        let heard = state.standing.heard(newest);
        let mut at = beginning.after;
        if let (Standing::New(new), None) = (&state.standing, since) {
            // It has not heard yet what came since it connected.
            at = at.min(new.at).max(still.floor());
        }
        let reading = Standing::Reading(Reading {
            uid: uid.clone(),
            groups: beginning.groups.clone(),
            at,
            heard,
        });
        if let Standing::Guest(_, place) = std::mem::replace(&mut state.standing, reading) {
            place.leave(socket);
        }
        self.link.set_numbered(login.is_numbered);
        state.began = at;
        state.recovers = beginning.recovered == Recovered::Whole;
        if beginning.recovered == Recovered::Partly {
            self.house.lobby.metrics.not_recovered();
        }
        let backlog = self.house.lobby.backlog.as_ref();
        let parcels = uid.as_ref().and_then(|uid| {
            // A number that we have not given says nothing of what it has.
            let page = (uid, login.since.filter(|since| since.id <= newest));
            Parcels::of(backlog, page, beginning.recovered, &self.link.ledger, still)
        });
        self.stands_at(at, parcels.as_ref().and_then(Parcels::lacks));
        self.takes_places(state, &beginning.groups, socket);
        let begins = (at, beginning.recovered);
        let answer = Answer::begun(uid.as_ref(), begins, parcels.as_ref());
        state.session = Some(self.house.lobby.hub.login(uid));
        (answer, parcels)
    }

    /// Where a page of `uid` begins. One that does not say is not known from the user's other pages,
    /// and one of those may be itself, on a connection that is dead without a word: what is still
    /// under way there it gets here.
    fn beginning(
        &self,
        uid: &Uid,
        since: Option<PushId>,
        granted: &[Group],
        still: &mut Standstill<'_>,
    ) -> Beginning {
        let mut beginning = still.begin(uid, since, granted);
        if since.is_none() {
            let others = Audience::Users(std::slice::from_ref(uid));
            self.house.egress.rooms.each(others, |link| {
                if let Some(oldest) = link.ledger.oldest_in_flight(link.arrived()) {
                    beginning.after = beginning.after.min(PushId(oldest.0 - 1));
                }
            });
            beginning.after = beginning.after.max(still.floor());
        }
        beginning
    }

    /// What reaches the page live tells it nothing of how far it is, while it catches up.
    fn stands_at(&self, at: PushId, lacks: Option<PushId>) {
        self.link.stands(Apart {
            at: Some(at),
            parcel: lacks.filter(|_| self.link.is_numbered()),
        });
    }

    /// Which of socketioxide's rooms the page belongs into depends on where it stands, and on whether it
    /// is told numbers. Into those of `groups` it comes when it has read what was for them.
    fn takes_places(&self, state: &mut State, groups: &[Group], socket: &SocketRef) {
        if let Some((wanted, _, place)) = &mut state.subscription {
            let room = Room::Subscription(wanted.clone());
            let new = self.house.egress.enter(socket, room, &self.link);
            std::mem::replace(place, new).leave(socket);
        }
        if !groups.is_empty() {
            let talk = state.talk.get_or_insert_default();
            talk.resume(groups, &self.house.lobby.hub, &self.link);
        }
    }

    /// Hands the page the rest of what it has missed, as fast as it takes it. Until it is live it is
    /// `found` by its user.
    fn read_on(self: &Arc<Self>, parcels: Option<Parcels>, found: Option<Member<Link>>) -> Rest {
        let page = Arc::clone(self);
        Box::pin(async move {
            let _found = found;
            if let Some(mut parcels) = parcels {
                while parcels.fetch().await && page.unpacks(&mut parcels) {
                    tokio::time::sleep(BREATH).await;
                }
            }
            while page.reads_more() == Some(Read::More) {
                tokio::time::sleep(BREATH).await;
            }
        })
    }

    /// Hands the page some of what waits for its user. False when it is gone.
    fn unpacks(&self, parcels: &mut Parcels) -> bool {
        let mut guard = self.lock();
        let Some(State {
            standing: Standing::Reading(reading),
            ..
        }) = guard.as_mut()
        else {
            return false;
        };
        let egress = &self.house.egress;
        let given = self.house.lobby.hub.between_pushes(|still| {
            let given = parcels.give(reading, still, |push| {
                let (id, parcel) = (reading.at, push.parcel);
                let packet = Packet::since(push, Some(Since { id, parcel }));
                egress.hand(&self.link, push, &packet)
            });
            self.stands_at(reading.at, parcels.lacks());
            given
        });
        if given == Read::Lost {
            egress.connections.cut(&self.link);
        }
        given != Read::Lost
    }

    /// `None` when the page is gone.
    fn reads_more(&self) -> Option<Read> {
        let mut guard = self.lock();
        let state = guard.as_mut()?;
        let socket = self.house.egress.socket(&self.link)?;
        let hub = &self.house.lobby.hub;
        Some(hub.between_pushes(|still| self.read(state, &socket, still)))
    }

    /// Hands the page some of what it has missed; with the last of it, lets it hear what is live.
    fn read(&self, state: &mut State, socket: &SocketRef, still: &Standstill<'_>) -> Read {
        let Standing::Reading(reading) = &mut state.standing else {
            return Read::All;
        };
        let read = self.hand(reading, still, &mut state.replayed);
        if read == Read::All {
            if state.recovers {
                self.house.lobby.metrics.recovered(state.replayed);
            }
            self.goes_live(state, socket);
        }
        read
    }

    /// The page hears from now on what is live, as others do.
    fn goes_live(&self, state: &mut State, socket: &SocketRef) {
        let lacks = self.link.apart().and_then(|apart| apart.parcel);
        self.link.stands(Apart {
            at: None,
            parcel: lacks,
        });
        let egress = &self.house.egress;
        let user = state.session.as_ref().and_then(Session::uid);
        let user = user.map(|uid| Room::User(uid.clone()));
        let rooms = [Room::Everyone].into_iter().chain(user);
        let enter = |room| egress.enter(socket, room, &self.link);
        let _places = rooms.map(enter).collect();
        state.standing = Standing::Live { _places };
        let wanted = state.subscription.as_mut().map(|(_, _, place)| place);
        let joined = state.talk.iter_mut().flat_map(|talk| talk.places());
        for place in wanted.into_iter().chain(joined) {
            place.wakes(egress, &self.link, socket);
        }
    }

    fn hand(&self, reading: &mut Reading, still: &Standstill<'_>, taken: &mut u64) -> Read {
        let egress = &self.house.egress;
        let apart = self.link.apart();
        let lacks = apart.and_then(|apart| apart.parcel);
        let read = still.read(reading, |push| {
            let since = lacks.map(|_| Since {
                id: push.id,
                parcel: lacks,
            });
            let handed = egress.hand(&self.link, push, &Packet::since(push, since));
            *taken += u64::from(handed == Handed::Taken);
            handed
        });
        if apart.is_some() {
            self.stands_at(reading.at, lacks);
        }
        if read == Read::Lost {
            egress.give_up(&self.link, reading.at);
        }
        read
    }
}

impl Newcomer for Page {
    fn hears_as_guest(&self) -> Option<bool> {
        let socket = self.house.egress.socket(&self.link)?;
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else {
            return Some(true);
        };
        self.house.lobby.hub.between_pushes(|still| {
            let Standing::New(reading) = &mut state.standing else {
                return Some(true);
            };
            if self.hand(reading, still, &mut state.replayed) == Read::More {
                return Some(false);
            }
            let from = reading.heard.map_or(reading.at, |(from, _)| from);
            let place = self.house.egress.enter(&socket, Room::Everyone, &self.link);
            state.standing = Standing::Guest(from, place);
            Some(true)
        })
    }

    fn leaves(&self) {
        self.is_gone(End::Broken, Reason::Broken);
    }
}
