//! An HTTP server for tests: it answers whatever it is told, and keeps what it is asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What it answers.
#[derive(Clone)]
pub(super) enum Reply {
    Json(u16, Value),
    Text(&'static str),
    /// To somewhere on itself.
    Redirect,
    /// Zeros, for ever.
    Endless,
    /// Nothing, for ever.
    Silence,
}

/// A request as it came.
pub(super) struct Asked {
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

pub(super) struct Stub {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    reply: Mutex<Reply>,
    asked: Mutex<Vec<Asked>>,
    count: watch::Sender<usize>,
}

impl Stub {
    pub(super) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            reply: Mutex::new(reply),
            asked: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let router = Router::new().fallback(answer);
        let router = router.with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            serving,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/there", self.address)
    }

    pub(super) fn answers(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    /// How often it was asked.
    pub(super) fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    pub(super) async fn is_asked(&self, times: usize) {
        let mut count = self.shared.count.subscribe();
        count.wait_for(|count| *count >= times).await.unwrap();
    }

    pub(super) fn last(&self) -> Asked {
        self.shared.asked.lock().unwrap().pop().unwrap()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    shared.asked.lock().unwrap().push(Asked {
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    shared.count.send_modify(|count| *count += 1);
    let reply = shared.reply.lock().unwrap().clone();
    match reply {
        Reply::Json(status, json) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, json.to_string()).into_response()
        }
        Reply::Text(text) => text.into_response(),
        Reply::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/else")]).into_response(),
        Reply::Endless => {
            let zeros = Bytes::from_static(&[b'0'; 16 * 1024]);
            let zeros = stream::repeat_with(move || Ok::<_, std::io::Error>(zeros.clone()));
            Body::from_stream(zeros).into_response()
        }
        Reply::Silence => std::future::pending().await,
    }
}
