//! Campanile: a realtime push server. A page logs in with its user's id; a backend makes one HTTP
//! call; the message is on the user's screen.
//!
//! # The two paths
//!
//! **One push.** `ingress::form` reads the request → [`ingress`]'s `Publisher` (who it is for, and the
//! escaped text) → [`hub::Hub::publish`] (numbered, logged, and in the same step) →
//! [`hub::Egress::deliver`] of each gateway (entered into each page's `gateway::ledger`, one broadcast
//! into the users' rooms). The answer is rendered once, where the request was read. Lines
//! (`ingress::text`) and packets (`ingress::udp`) differ only in the first step. What has to be durable
//! first goes by [`hub::Backlog`] (`store=1`) or, from a chat page, [`chat::Chat`] →
//! [`hub::Recorder`], and then the same way.
//!
//! **One login.** `gateway::socketio` on `login` → `claim` (what the page sent) → `gateway::entrance`
//! (limits, then [`auth::Auth`], at once or when somebody has been asked → [`uid::Uid`]) → between two
//! pushes ([`hub::Hub::between_pushes`]): count
//! ([`hub::Hub::login`]), find where the page begins, hand it what it has missed, join the rooms → keep
//! the [`hub::Session`] for as long as the page is there. Its `Drop` is the logout; how the connection
//! ended tells where the user's next page begins ([`hub::Standstill::end`]). The uid websocket does the
//! same; the topic and the chat websocket only count.
//!
//! # The rooms of the house
//!
//! - [`app`]: builds every part, owns listeners and loops, orders the stop.
//! - [`gateway`]: the protocols that pages speak: Socket.IO, on socketioxide; the uid, topic and
//!   chat websockets, on `gateway::websocket`.
//! - [`ingress`]: the protocols that publishers speak: web-msg-sender's HTTP form, text lines, UDP.
//! - `web`: the demo page. `admin`: health and figures, for those who run the server.
//! - [`cli`]: the command line, a file a subcommand.
//! - [`chat`]: pages that send, whatever they speak.
//! - [`hub`]: who is online, and whom a push reaches; what is remembered for pages that come back, and
//!   kept before it is delivered. The only thing that edges call.
//! - [`store`]: what must outlive the moment, in SQLite or PostgreSQL: the chat's records, the backlog,
//!   and what one server leaves to the next.
//! - [`metrics`]: what is counted. [`readiness`]: whether the server can do its work.
//! - [`limits`]: how much pages may take. [`auth`]: who may log in, and who may push. `net`: listeners, and HTTP/1.1 on what they accept.
//! - [`push`], [`record`], [`topic`], [`group`], [`uid`]: values.
//! - `php`: the value rules of the PHP originals.
//! - [`config`]: plain data, and where it comes from. [`telemetry`]: logging.
//! - `fuzzing`: what holds of every parser; built only for `fuzz/`.
//!
//! Imports go downward: `app` and `cli` over the edges (`gateway`, `ingress`, `web`, `admin`, which
//! do not know each other), over `chat`, over `hub`, over `auth`, `net`, `store`, `telemetry`, over
//! `limits`, over `metrics` and `readiness`, over the values, over `php` and `config`. One call goes up, from the hub
//! to the pages, through [`hub::Egress`].

mod admin;
pub mod app;
pub mod auth;
pub mod chat;
pub mod cli;
pub mod config;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gateway;
pub mod group;
pub mod hub;
pub mod ingress;
pub mod limits;
pub mod metrics;
mod net;
mod php;
pub mod push;
pub mod readiness;
pub mod record;
pub mod store;
pub mod telemetry;
pub mod topic;
pub mod uid;
mod web;
