//! Campanile: a realtime push server. A page logs in with its user's id; a backend makes one HTTP
//! call; the message is on the user's screen.
//!
//! # The two paths
//!
//! **One push.** `ingress::form` reads the request → [`ingress`]'s `Command::into_push` (who it is
//! for, and the escaped text) → [`hub::Hub::publish`] (is anybody there?) → [`hub::Hub::deliver`]
//! → `SocketIoEgress::deliver` (one broadcast into the users' rooms). The answer is rendered once,
//! where the request was read.
//!
//! **One login.** `gateway::socketio` on `login` → `claim` (what the page sent → [`uid::Uid`]) →
//! join the room → [`hub::Hub::login`] (count) → keep the [`hub::Session`] for as long as the page
//! is there. Its `Drop` is the logout.
//!
//! # The rooms of the house
//!
//! - [`app`]: builds every part, owns listeners and loops, orders the stop.
//! - [`gateway`]: the protocols that pages speak. Today Socket.IO, on socketioxide.
//! - [`ingress`]: the protocols that publishers speak. Today web-msg-sender's HTTP form.
//! - `web`: the demo page.
//! - [`cli`]: the command line, a file a subcommand.
//! - [`hub`]: who is online, and whom a push reaches. The only thing that edges call.
//! - `net`: listeners, and HTTP/1.1 on what they accept.
//! - `php`: the value rules of the PHP originals.
//! - [`push`], [`uid`]: values.
//! - [`config`]: plain data, and where it comes from. [`telemetry`]: logging.
//!
//! Imports go downward in that order: `app` and `cli` over the edges (`gateway`, `ingress`, `web`,
//! which do not know each other), over `hub`, over `net`, `php`, `telemetry`, over `push`, `uid`,
//! `config`. One call goes up, from the hub to the pages, through [`hub::Egress`].

pub mod app;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod hub;
pub mod ingress;
mod net;
mod php;
pub mod push;
pub mod telemetry;
pub mod uid;
mod web;
