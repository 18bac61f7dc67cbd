//! What a chat page that is somebody may ask for.

use std::sync::Arc;

use super::{Talk, Work};
use crate::chat::answer::{self, Answer, Reference};
use crate::chat::request::{Order, Recipient};
use crate::chat::{Message, Missed, catch_up, history};
use crate::gateway::websocket::Room;
use crate::group::Group;
use crate::record::{Addressee, RecordId};
use crate::uid::Uid;

/// The most users that a page may watch.
const MAX_WATCHED: usize = 1000;

impl Talk {
    /// Carries out an order that `text` gives.
    pub(super) fn carry_out(
        &mut self,
        order: Order,
        text: &str,
        reference: &Reference,
    ) -> Result<(), String> {
        let Some(me) = &self.me else {
            return Err("log in first: {\"type\":\"login\",…}".to_owned());
        };
        let me = me.uid.clone();
        match order {
            Order::Login { .. } => {}
            Order::Send(recipient) => {
                self.groups
                    .may_address(&recipient)
                    .map_err(|e| e.to_string())?;
                self.send(me, recipient, text, reference);
            }
            Order::History { of, before, limit } => {
                self.groups.may_address(&of).map_err(|e| e.to_string())?;
                let of = of.conversation_of(&me);
                let (chat, reference) = (Arc::clone(&self.socket.chat), reference.clone());
                let in_flight = Arc::clone(&self.in_flight);
                self.work = Some(Work::Answer(Box::pin(async move {
                    // What the page has sent before belongs to it.
                    in_flight.all_landed().await;
                    history(chat, of, before, limit, reference).await
                })));
            }
            Order::Join { group, since } => self.join(group, since, reference)?,
            Order::Leave(group) => {
                self.groups.leave(&group);
                self.outbox.text(&answer::left(reference, &group));
            }
            Order::Watch(uids) => uids.into_iter().try_for_each(|uid| self.watch(uid))?,
            Order::Unwatch(uids) => uids.iter().for_each(|uid| {
                self.watches.remove(uid);
            }),
        }
        Ok(())
    }

    fn send(&self, sender: Uid, recipient: Recipient, text: &str, reference: &Reference) {
        let message = Message {
            sender,
            recipient,
            body: text.into(),
            event: None,
        };
        let (outbox, reference) = (Arc::clone(&self.outbox), reference.clone());
        let landing = self.in_flight.begin(text.len());
        self.socket.chat.send(message, move |kept| {
            match kept {
                Ok(kept) if reference.is_some() => outbox.text(&answer::ack(&reference, kept)),
                Ok(_) => {}
                Err(fault) => outbox.text(&answer::error(&reference, &fault)),
            }
            drop(landing);
        });
    }

    fn join(
        &mut self,
        group: Group,
        since: Option<RecordId>,
        reference: &Reference,
    ) -> Result<(), String> {
        let chat = &self.socket.chat;
        let live_from = chat.recorder.begun();
        let (egress, outbox) = (&self.socket.egress, &self.outbox);
        let enter = |group: &Group| egress.enter(Room::Group(group.clone()), outbox);
        let joined = self.groups.join(group.clone(), &chat.hub, enter);
        joined.map_err(|e| e.to_string())?;
        let until = chat.recorder.begun();
        let joined = Answer::Joined {
            reference: reference.as_deref(),
            group: group.as_str(),
            last: since.unwrap_or(until),
        };
        let joined = joined.text();
        let Some(since) = since else {
            self.outbox.text(&joined);
            return Ok(());
        };
        let addressee = Addressee::Group(group);
        self.work = Some(Work::CatchUp {
            step: catch_up(Arc::clone(chat), addressee, Missed::Since(since), until),
            greeting: Some(joined),
            live_from,
            mine_until: None,
        });
        Ok(())
    }

    fn watch(&mut self, uid: Uid) -> Result<(), String> {
        if self.watches.len() >= MAX_WATCHED && !self.watches.contains_key(&uid) {
            return Err(format!("watching {MAX_WATCHED} users already"));
        }
        let outbox = Arc::clone(&self.outbox);
        let tell = move |uid: &Uid, online| outbox.text(&answer::presence(uid, online));
        let presences = &self.socket.chat.presences;
        let watching = presences.watch(uid.clone(), Box::new(tell));
        self.watches.insert(uid, watching);
        Ok(())
    }
}
