//! web-msg-sender's HTTP push: `type=publish&to=&content=` on any path, answered `ok`, `offline`
//! or `fail`. Knows the hub; knows nothing of pages.

mod fields;

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::config;
use crate::ingress::{Publisher, Reply};
use crate::net::body::{self, BodyError};
use fields::Parameters;

/// Methods that publish: those the original published on, less `HEAD` and `OPTIONS`, which
/// probes and browsers send and nobody means as a push.
const ALLOW: &str = "GET, POST, PUT, PATCH, DELETE";

/// Says why a push was not kept.
const REASON: HeaderName = HeaderName::from_static("x-campanile-reason");

/// The push port's service. Cheap to clone.
#[derive(Clone)]
struct Form {
    publisher: Publisher,
    escape: config::EscapeHtml,
    max_body: usize,
    body_timeout: Duration,
}

/// The push endpoint; the push port serves it on every path.
pub(crate) fn endpoint(publisher: Publisher, config: &config::Http) -> MethodRouter {
    let form = Form {
        publisher,
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
    let parameters = match form.parameters(request).await {
        Ok(parameters) => parameters,
        Err(e) => {
            form.publisher.note(Reply::Fail);
            return refuse(e.status(), &e.to_string());
        }
    };
    match parameters.into_command(form.escape) {
        Ok(command) => word_response(form.publisher.publish(command).await),
        Err(fault) => {
            tracing::debug!(%fault, "push refused");
            form.publisher.note(Reply::Fail);
            word_response(Reply::Fail)
        }
    }
}

impl Form {
    async fn parameters(&self, request: Request) -> Result<Parameters, BodyError> {
        let (parts, stream) = request.into_parts();
        let bytes = body::read(stream, self.max_body, self.body_timeout).await?;
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        Ok(Parameters::read(query, content_type, bytes).await)
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
    if let Reply::Unkept(why) = reply {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let why = HeaderValue::from_str(&why.to_string()).expect("the reasons are ASCII");
        response.headers_mut().insert(REASON, why);
    }
    response
}

fn text_response(text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let html = HeaderValue::from_static("text/html;charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}
