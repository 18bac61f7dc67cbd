//! web-msg-sender's HTTP push: `type=publish&to=&content=` on any path, answered `ok`, `offline`
//! or `fail`. Knows the hub; knows nothing of pages.

mod credentials;
mod fields;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod rebound;
mod waiting_room;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::auth::api_keys::{Denied, Keys};
use crate::config;
use crate::ingress::{Publisher, Reply};
use crate::net::body::{self, BodyError};
use crate::net::browser;
use credentials::{Unproven, content_type};
use fields::Parameters;
use waiting_room::{NoRoom, WaitingRoom};

/// Methods that publish: those the original published on, less `HEAD` and `OPTIONS`, which
/// probes and browsers send and nobody means as a push.
const ALLOW: &str = "GET, POST, PUT, PATCH, DELETE";

/// Says why a push was not taken, or not kept.
const REASON: HeaderName = HeaderName::from_static("x-campanile-reason");

/// What a page of another site is told.
const CROSS_SITE: &str = "a page of another site may not push; see http.allow_cross_site";

/// The push port's service. Cheap to clone.
#[derive(Clone)]
struct Form {
    publisher: Publisher,
    keys: Arc<Keys>,
    allow_cross_site: bool,
    /// The port; `None` where no browser can come straight to it, or where others look at its names.
    door: Option<SocketAddr>,
    waiting_room: Arc<WaitingRoom>,
    escape: config::EscapeHtml,
    max_body: usize,
    body_timeout: Duration,
}

/// The push endpoint; the push port, at `door`, serves it on every path.
pub(crate) fn endpoint(
    publisher: Publisher,
    keys: Arc<Keys>,
    config: &config::Http,
    door: Option<SocketAddr>,
) -> MethodRouter {
    let form = Form {
        publisher,
        keys,
        allow_cross_site: config.allow_cross_site,
        door,
        waiting_room: Arc::new(WaitingRoom::new(config.max_body_bytes())),
        escape: config.escape_html,
        max_body: config.max_body_bytes(),
        body_timeout: config.request_timeout,
    };
    any(publish).with_state(form)
}

/// One push: read it, give it to the hub, answer one word.
async fn publish(State(form): State<Form>, request: Request) -> Response {
    match *request.method() {
        Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {}
        // A probe: the port is there, nothing is published.
        Method::HEAD => return text_response(""),
        Method::OPTIONS => {
            return (StatusCode::NO_CONTENT, [(header::ALLOW, ALLOW)]).into_response();
        }
        _ => return refuse(StatusCode::BAD_REQUEST, "method not allowed"),
    }
    match form.parameters(request).await {
        Ok(parameters) => form.carry_out(parameters).await,
        Err(Refused::Body(e)) => {
            form.publisher.note(Reply::Fail);
            refuse(e.status(), &e.to_string())
        }
        Err(Refused::NoRoom) => {
            form.publisher.note(Reply::Fail);
            refuse(StatusCode::SERVICE_UNAVAILABLE, &NoRoom.to_string())
        }
        Err(Refused::Denied(denied)) => {
            form.publisher.note(Reply::Denied(denied));
            word_response(Reply::Denied(denied))
        }
        Err(Refused::CrossSite) => {
            form.publisher.note(Reply::CrossSite);
            word_response(Reply::CrossSite)
        }
    }
}

/// Why a request is not looked at any further.
enum Refused {
    Body(BodyError),
    /// Too many strangers send bodies.
    NoRoom,
    Denied(Denied),
    /// A page of another site made a browser send it.
    CrossSite,
}

impl Form {
    /// The parameters of a request that may push.
    async fn parameters(&self, request: Request) -> Result<Parameters, Refused> {
        let (parts, stream) = request.into_parts();
        if self.is_of_other_site(&parts.headers) {
            return Err(Refused::CrossSite);
        }
        let unproven = Unproven::after_head(&parts, &self.keys)?;
        let content_type = content_type(&parts);
        let body = self.body(stream, unproven, content_type).await?;
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        Ok(Parameters::read(query, content_type, body).await)
    }

    fn is_of_other_site(&self, headers: &HeaderMap) -> bool {
        // Where there are keys, a page that came by a name of its own has none.
        let door = self.door.filter(|_| self.keys.is_open());
        let is_rebound = || door.is_some_and(|door| rebound::is_rebound(headers, door));
        !self.allow_cross_site && (browser::crosses_sites(headers) || is_rebound())
    }

    /// The body of a request that may push.
    async fn body(
        &self,
        stream: Body,
        unproven: Unproven<'_>,
        content_type: &[u8],
    ) -> Result<Bytes, Refused> {
        let (most, time) = (self.max_body, self.body_timeout);
        if let Unproven::Nothing = unproven {
            return Ok(body::read(stream, most, time).await?);
        }
        let mut place = self.waiting_room.enter();
        let body = body::read(place.of(stream), most, time).await?;
        unproven.check(&self.keys, content_type, &body).await?;
        Ok(body)
    }

    async fn carry_out(&self, parameters: Parameters) -> Response {
        match parameters.into_command(self.escape) {
            Ok(command) => word_response(self.publisher.publish(command).await),
            Err(fault) => {
                tracing::debug!(%fault, "push refused");
                self.publisher.note(Reply::Fail);
                let mut response = word_response(Reply::Fail);
                response.headers_mut().insert(REASON, reason(&fault));
                response
            }
        }
    }
}

impl From<BodyError> for Refused {
    fn from(e: BodyError) -> Self {
        match e {
            BodyError::Broken(cause) if cause.is::<NoRoom>() => Self::NoRoom,
            e => Self::Body(e),
        }
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    tracing::debug!(status = status.as_u16(), reason, "push request refused");
    // The rest of the request is of no use: end the connection rather than read it.
    (
        status,
        [(header::CONNECTION, "close")],
        format!("{reason}\n"),
    )
        .into_response()
}

fn word_response(reply: Reply) -> Response {
    let mut response = text_response(reply.word());
    let (status, why) = match reply {
        Reply::Ok | Reply::Offline | Reply::Fail => return response,
        Reply::Unkept(why) => (StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
        Reply::Denied(why) if why.is_known() => (StatusCode::FORBIDDEN, why.to_string()),
        Reply::Denied(why) => (StatusCode::UNAUTHORIZED, why.to_string()),
        Reply::CrossSite => (StatusCode::FORBIDDEN, CROSS_SITE.to_owned()),
    };
    tracing::debug!(status = status.as_u16(), why, "push not taken");
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        headers.insert(header::WWW_AUTHENTICATE, bearer);
    }
    headers.insert(REASON, reason(&why));
    *response.status_mut() = status;
    response
}

fn reason(why: &impl ToString) -> HeaderValue {
    HeaderValue::from_str(&why.to_string()).expect("the reasons are ASCII")
}

fn text_response(text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let html = HeaderValue::from_static("text/html;charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}
