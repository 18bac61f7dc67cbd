//! The chat over Socket.IO: events `new_msg`, `join`, `leave` and `history` of a logged-in page,
//! each answered by its acknowledgement.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use socketioxide::extract::{AckSender, SocketRef};

use crate::chat::answer::{self, Answer, Reference};
use crate::chat::request::{InvalidRequest, Order, Recipient, Request};
use crate::chat::{Chat, InFlight, JoinedGroups, Message, SendError, history};
use crate::gateway::event;
use crate::gateway::rooms::Room;
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::egress::{Place, SocketIoEgress};
use crate::gateway::socketio::link::Link;
use crate::group::Group;
use crate::hub::Hub;
use crate::record::Conversation;
use crate::uid::Uid;

/// What is still to be done when an event has been heard.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An event, and the way to answer it.
pub(super) struct Heard<'a> {
    pub(super) name: &'static str,
    pub(super) payload: Value,
    pub(super) ack: AckSender,
    pub(super) socket: &'a SocketRef,
    pub(super) egress: &'a SocketIoEgress,
    pub(super) link: &'a Arc<Link>,
}

/// A page's part in the chat.
#[derive(Debug, Default)]
pub(super) struct Talk {
    groups: JoinedGroups<Place>,
    in_flight: Arc<InFlight>,
    /// Histories under way: one at a time.
    reading: Arc<InFlight>,
}

/// Why an event is not carried out; told to the page.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// In the original a page could not send.
    #[error("chat over Socket.IO is off: the server needs [chat] socketio = true")]
    Off,
    #[error("log in first")]
    NotLoggedIn,
    #[error("expected an object, as {{\"to\":\"bob\",\"content\":\"hi\"}}")]
    NotObject,
    #[error("content is missing, or not a text")]
    Content,
    #[error(transparent)]
    Request(#[from] InvalidRequest),
    #[error(transparent)]
    Send(#[from] SendError),
}

impl Talk {
    /// What the page has joined.
    pub(super) fn groups(&self) -> Vec<Group> {
        self.groups.names().cloned().collect()
    }

    /// Puts a page back into the groups that it was in when its connection broke, and into those that
    /// its claim grants. What is for them it reads in the log until it has caught up.
    pub(super) fn resume(&mut self, groups: &[Group], hub: &Arc<Hub>, link: &Link) {
        for group in groups {
            let enter = |group: &Group| SocketIoEgress::keep(Room::Group(group.clone()), link);
            if let Err(fault) = self.groups.join(group.clone(), hub, enter) {
                tracing::debug!(%fault, "a group was not joined again");
            }
        }
    }

    pub(super) fn is_in(&self, group: &Group) -> bool {
        self.groups.names().any(|joined| joined == group)
    }

    /// The page's places in its groups' rooms.
    pub(super) fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        self.groups.rooms()
    }

    /// Carries out an event of a page of `me`, and answers it.
    pub(super) fn hear(&mut self, heard: Heard<'_>, me: &Uid, chat: &Arc<Chat>) -> Option<Rest> {
        let Heard {
            name,
            payload,
            ack,
            socket,
            egress,
            link,
        } = heard;
        let body = payload.to_string();
        let (order, reference) = match order(name, (payload, body.len()), chat) {
            Ok(order) => order,
            Err((fault, reference)) => {
                refuse(ack, &reference, &fault);
                return None;
            }
        };
        let answered = match order {
            Asked::Send(recipient, content) => {
                let message = Message {
                    sender: me.clone(),
                    recipient,
                    body: body.into(),
                    event: Some(content),
                };
                self.send(message, chat, reference, ack);
                return None;
            }
            Asked::Other(Order::History { of, before, limit }) => match self.conversation(of, me) {
                Ok(of) => {
                    let (in_flight, reading) = (Arc::clone(&self.in_flight), self.reading.begin(0));
                    let answer = history(Arc::clone(chat), of, before, limit, reference);
                    return Some(Box::pin(async move {
                        // What the page has sent before belongs to it.
                        in_flight.all_landed().await;
                        respond(ack, &answer.await);
                        drop(reading);
                    }));
                }
                Err(fault) => Err(fault),
            },
            Asked::Other(Order::Join { group, .. }) => {
                let hub = &chat.hub;
                let joined = self.groups.join(group.clone(), hub, |group| {
                    let room = Room::Group(group.clone());
                    hub.between_pushes(|_| egress.enter(socket, room, link))
                });
                joined.map(|()| joined_answer(&reference, &group, chat))
            }
            Asked::Other(Order::Leave(group)) => {
                if let Some(place) = self.groups.leave(&group) {
                    chat.hub.between_pushes(|_| place.leave(socket));
                }
                Ok(answer::left(&reference, &group))
            }
            Asked::Other(_) => return None,
        };
        match answered {
            Ok(answer) => respond(ack, &answer),
            Err(fault) => refuse(ack, &reference, &fault.into()),
        }
        None
    }

    fn send(&self, message: Message, chat: &Chat, reference: Reference, ack: AckSender) {
        let allowed = self.groups.may_address(&message.recipient);
        let allowed = allowed.and_then(|()| match self.in_flight.has_room() {
            true => Ok(()),
            false => Err(SendError::Busy),
        });
        if let Err(fault) = allowed {
            return refuse(ack, &reference, &fault.into());
        }
        let landing = self.in_flight.begin(message.body.len());
        chat.send(message, move |kept| {
            drop(landing);
            match kept {
                Ok(kept) => respond(ack, &answer::ack(&reference, kept)),
                Err(fault) => refuse(ack, &reference, &fault.into()),
            }
        });
    }

    fn conversation(&self, of: Recipient, me: &Uid) -> Result<Conversation, SendError> {
        self.groups.may_address(&of)?;
        if !self.reading.is_empty() {
            return Err(SendError::Busy);
        }
        Ok(of.conversation_of(me))
    }
}

enum Asked {
    /// With the text for Socket.IO pages.
    Send(Recipient, String),
    Other(Order),
}

/// What an event asks for. Its payload is a request of the chat websocket, but for `to` in the
/// place of `uid`, and the event's name in the place of `type`.
fn order(
    name: &'static str,
    (payload, length): (Value, usize),
    chat: &Chat,
) -> Result<(Asked, Reference), (Refusal, Reference)> {
    let most = chat.config.max_message_bytes();
    if length > most {
        let fault = InvalidRequest::TooLong(length as u64, most);
        return Err((fault.into(), None));
    }
    let Value::Object(mut request) = payload else {
        return Err((Refusal::NotObject, None));
    };
    let content = request.remove("content");
    request.remove("uid");
    if let Some(to) = request.remove("to") {
        request.insert("uid".to_owned(), to);
    }
    let kind = if name == event::NEW_MSG { "" } else { name };
    request.insert("type".to_owned(), Value::from(kind));
    let request = Value::Object(request).to_string();
    let read = Request::read(&request, chat.limits());
    let Request { order, reference } =
        read.map_err(|(fault, reference)| (Refusal::from(fault), reference))?;
    match (order, content) {
        (Order::Send(recipient), Some(Value::String(content))) => {
            Ok((Asked::Send(recipient, content), reference))
        }
        (Order::Send(_), _) => Err((Refusal::Content, reference)),
        (order, _) => Ok((Asked::Other(order), reference)),
    }
}

fn joined_answer(reference: &Reference, group: &Group, chat: &Chat) -> String {
    Answer::Joined {
        reference: reference.as_deref(),
        group: group.as_str(),
        last: chat.recorder.begun(),
    }
    .text()
}

/// Answers an event with an error, where the page asked for an answer.
pub(super) fn refuse(ack: AckSender, reference: &Reference, fault: &Refusal) {
    tracing::debug!(%fault, "chat event refused");
    respond(ack, &answer::error(reference, fault));
}

/// Answers with a JSON text. A page that is gone needs no answer; one whose queue is full is about to
/// lose its connection.
fn respond(ack: AckSender, json: &str) {
    if let Err(e) = ack.send(AsciiJson::of_json(json).raw()) {
        tracing::debug!(error = %e, "chat event not answered");
    }
}
