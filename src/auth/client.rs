//! An HTTP client for the few calls that judging takes: one request, one answer that is bounded in
//! bytes and in time. Follows no redirect, and repeats nothing.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::Unusable;

/// Servers close an idle connection after as little as 2 s, and a request that meets that is lost.
const IDLE: Duration = Duration::from_secs(1);

/// The longest time to a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Calls one place.
#[derive(Clone)]
pub(super) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What an answer may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How large its body may be.
    pub(super) bytes: usize,
    /// How long it may take, from the connection to the body's end.
    pub(super) time: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    #[error("the call has failed")]
    Call(#[from] legacy::Error),
    #[error("the answer is broken off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer, whose status is {0}, is longer than {1} bytes")]
    Long(StatusCode, usize),
    #[error("there is no answer within {0:?}")]
    Slow(Duration),
}

impl Client {
    /// A client for `url`, which stands at the configuration's key `name`; keeps up to `idle`
    /// connections open.
    pub(super) fn new(url: &Uri, idle: usize, name: &'static str) -> Result<Self, Unusable> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let tls = HttpsConnectorBuilder::new();
        let tls = if url.scheme_str() == Some("https") {
            let tls = tls.with_provider_and_native_roots(ring::default_provider());
            tls.map_err(|source| {
                let problem = "is https, and the system has no certificates to trust";
                Unusable::new(name, problem).because(source)
            })?
        } else {
            // Never used, so the system need not have any certificates.
            let provider = ring::default_provider().into();
            let config = ClientConfig::builder_with_provider(provider);
            let config = config
                .with_safe_default_protocol_versions()
                .expect("ring has the default versions");
            let config = config.with_root_certificates(RootCertStore::empty());
            tls.with_tls_config(config.with_no_client_auth())
        };
        let connector = tls.https_or_http().enable_http1().wrap_connector(http);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle)
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Self { http })
    }

    /// Makes a call.
    pub(super) async fn call(
        &self,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> Result<Response<Bytes>, CallError> {
        let call = async {
            let answer = self.http.request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, bounds.bytes).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => CallError::Long(head.status, bounds.bytes),
                false => CallError::Body(error),
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let answer = tokio::time::timeout(bounds.time, call).await;
        answer.unwrap_or(Err(CallError::Slow(bounds.time)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, Response, StatusCode};

    use super::{Bounds, CallError, Client};
    use crate::auth::stub::{Reply, Stub};

    const MINUTE: Duration = Duration::from_secs(60);

    async fn call(stub: &Stub, time: Duration) -> Result<Response<Bytes>, CallError> {
        let url = stub.url().parse().unwrap();
        let client = Client::new(&url, 1, "url").unwrap();
        let request = Request::get(url).body(Bytes::new()).unwrap();
        client.call(request, Bounds { bytes: 1000, time }).await
    }

    #[tokio::test]
    async fn an_answer_may_be_as_long_as_its_bound() {
        let text: &str = Box::leak("x".repeat(1001).into());
        let stub = Stub::start(Reply::Text(&text[1..])).await;
        assert_eq!(call(&stub, MINUTE).await.unwrap().body().len(), 1000);
        stub.answers(Reply::Text(text));
        let error = call(&stub, MINUTE).await.unwrap_err();
        let is_long = matches!(error, CallError::Long(StatusCode::OK, 1000));
        assert!(is_long, "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up_for_its_length() {
        let stub = Stub::start(Reply::Endless).await;
        let error = call(&stub, MINUTE).await.unwrap_err();
        let is_long = matches!(error, CallError::Long(StatusCode::OK, 1000));
        assert!(is_long, "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_given_up_after_its_time() {
        let stub = Stub::start(Reply::Silence).await;
        let time = Duration::from_millis(50);
        let error = call(&stub, time).await.unwrap_err();
        assert!(matches!(error, CallError::Slow(_)), "{error:?}");
        assert_eq!(stub.count(), 1);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let stub = Stub::start(Reply::Redirect).await;
        let answer = call(&stub, MINUTE).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND);
        assert_eq!(stub.count(), 1);
    }
}
