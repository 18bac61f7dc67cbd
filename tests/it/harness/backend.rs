//! The application behind the server: it is asked about logins, and answers as the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(u16, Value),
    /// The text that the page logged in with is its uid.
    AsAsked,
    /// This, once it is let go.
    Held(Value),
    /// Zeros, for ever.
    Endless,
    /// Nothing, for ever.
    Silence,
}

/// A question as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    asked: Mutex<Vec<Asked>>,
    /// How many questions have come, how many are open now, and how many were at most.
    counts: watch::Sender<(usize, usize, usize)>,
    is_let_go: watch::Sender<bool>,
}

/// A question that is being answered.
struct Open(Arc<Shared>);

impl Backend {
    pub(crate) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            reply: Mutex::new(reply),
            asked: Mutex::default(),
            counts: watch::Sender::new((0, 0, 0)),
            is_let_go: watch::Sender::new(false),
        });
        let router = Router::new().fallback(answer);
        let router = router.with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async {
            axum::serve(listener, router).await.expect("it serves on");
        });
        Self {
            address,
            shared,
            serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/login", self.address)
    }

    pub(crate) fn answers(&self, reply: Reply) {
        *self.shared.reply.lock().expect("nobody panics with it") = reply;
    }

    /// How many questions have come.
    pub(crate) fn count(&self) -> usize {
        self.shared.counts.borrow().0
    }

    /// The most that were open at a time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.counts.borrow().2
    }

    /// Waits until so many questions have come.
    pub(crate) async fn is_asked(&self, times: usize) {
        let mut counts = self.shared.counts.subscribe();
        let asked = counts.wait_for(|(count, ..)| *count >= times);
        super::within("the application to be asked", asked)
            .await
            .expect("it is there");
    }

    /// Answers what it holds, and waits until all is answered.
    pub(crate) async fn lets_go(&self) {
        self.shared.is_let_go.send_replace(true);
        let mut counts = self.shared.counts.subscribe();
        let answered = counts.wait_for(|(_, open, _)| *open == 0);
        super::within("all to be answered", answered)
            .await
            .expect("it is there");
        self.shared.is_let_go.send_replace(false);
    }

    /// The last question.
    pub(crate) fn last(&self) -> Asked {
        let asked = self.shared.asked.lock().expect("nobody panics with it");
        asked.last().expect("it was asked").clone()
    }

    /// Hangs up, and hears no more.
    pub(crate) async fn goes_down(&mut self) {
        self.serving.abort();
        (&mut self.serving).await.ok();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counts.send_modify(|(_, open, _)| *open -= 1);
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("the body comes");
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reply = shared.reply.lock().expect("nobody panics with it").clone();
    shared
        .asked
        .lock()
        .expect("nobody panics with it")
        .push(Asked {
            headers: head.headers,
            body: body.clone(),
        });
    shared.counts.send_modify(|(count, open, most)| {
        *count += 1;
        *open += 1;
        *most = (*most).max(*open);
    });
    let mut is_let_go = shared.is_let_go.subscribe();
    let _open = Open(shared);
    // Others get their turn, so that it shows how many are asked about at once.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    match reply {
        Reply::Json(status, json) => {
            let status = StatusCode::from_u16(status).expect("it is a status");
            (status, json.to_string()).into_response()
        }
        Reply::Held(json) => {
            is_let_go.wait_for(|is| *is).await.expect("it is there");
            json.to_string().into_response()
        }
        Reply::AsAsked => serde_json::json!({"uid": body["login"]})
            .to_string()
            .into_response(),
        Reply::Endless => {
            let zeros = Bytes::from_static(&[b'0'; 16 * 1024]);
            let zeros = stream::repeat_with(move || Ok::<_, std::io::Error>(zeros.clone()));
            Body::from_stream(zeros).into_response()
        }
        Reply::Silence => std::future::pending().await,
    }
}
