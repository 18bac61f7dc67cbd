//! A bare socketioxide server to compare with: it joins pages to the room of
//! their uid and emits what is pushed, and does nothing else.
//!
//! Usage: `bare SOCKET_ADDR HTTP_ADDR`, for example `bare 127.0.0.1:0 127.0.0.1:0`.

use std::convert::Infallible;
use std::error::Error;
use std::io::Write as _;

use axum::extract::{Form, State};
use axum::routing::post;
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef};
use socketioxide::handler::ConnectHandler as _;
use tokio::net::TcpListener;

/// The fields of a push that matter here.
#[derive(serde::Deserialize)]
struct Push {
    #[serde(default)]
    to: String,
    content: String,
}

/// Registers the login before the server confirms the connect, so that a login
/// sent at once is not lost.
async fn register(socket: SocketRef) -> Result<(), Infallible> {
    socket.on(
        "login",
        async |socket: SocketRef, Data(uid): Data<String>| {
            socket.join(uid);
            socket.emit("update_online_count", "1").ok();
        },
    );
    Ok(())
}

async fn connected() {}

async fn push(State(io): State<SocketIo>, Form(push): Form<Push>) -> &'static str {
    let sent = if push.to.is_empty() {
        io.emit("new_msg", &push.content).await
    } else {
        io.to(push.to).emit("new_msg", &push.content).await
    };
    if sent.is_ok() { "ok" } else { "fail" }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(socket_addr), Some(http_addr)) = (args.next(), args.next()) else {
        return Err("usage: bare SOCKET_ADDR HTTP_ADDR".into());
    };
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", connected.with(register));
    let sockets = TcpListener::bind(socket_addr).await?;
    let http = TcpListener::bind(http_addr).await?;
    writeln!(
        std::io::stderr(),
        "socketio {} http {}",
        sockets.local_addr()?,
        http.local_addr()?
    )?;
    let pages = axum::Router::new().layer(layer);
    let pushes = axum::Router::new().route("/", post(push)).with_state(io);
    tokio::try_join!(
        axum::serve(sockets, pages).into_future(),
        axum::serve(http, pushes).into_future()
    )?;
    Ok(())
}
