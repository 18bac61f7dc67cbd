//! Who is let in, and as whom: what stands before every gateway.
//!
//! Limits first, then the claim. Who is refused is counted, and told so by its gateway; the log has
//! one line a minute of each peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde_json::Value;

use crate::auth::{Admission, Admitted, Auth, Caller, Claim, Refused};
use crate::limits::{Budget, Limits, Over, Stay, Way};
use crate::metrics::{Limit, Metrics};
use crate::net::Peer;
use crate::uid::Uid;

/// Seconds after which somebody over a limit may try again.
const RETRY_AFTER: &str = "5";

/// A peer's refusals are told once in this time.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// The most peers whose last refusal is kept in mind.
const MAX_COMPLAINTS: usize = 4096;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(in crate::gateway) auth: Arc<Auth>,
    pub(in crate::gateway) limits: Arc<Limits>,
    metrics: Metrics,
    complaints: Mutex<HashMap<IpAddr, Instant>>,
}

/// A connection that has been let in. Counts for as long as it is there.
#[derive(Debug)]
pub(crate) struct Visitor {
    caller: Caller,
    pub(in crate::gateway) stay: Stay,
    refusals: AtomicUsize,
    /// For what it says, however often it leaves and joins.
    budget: Mutex<Budget>,
}

/// The verdict on a login.
pub(crate) enum Verdict {
    /// It stands.
    Now(Result<Admitted, Refusal>),
    /// Somebody has to be asked; takes a bounded time.
    Later(BoxFuture<'static, Result<Admitted, Refusal>>),
}

/// Why a login is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// By a limit.
    #[error(transparent)]
    Over(#[from] Over),
    /// By what it claims.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The page is somebody else already.
    #[error("already logged in")]
    Second,
    /// The one before it is not judged yet, and another waits for that already.
    #[error("another login of this page is still being checked")]
    Pending,
    /// The claim is sound, and for another user than the page named beside it.
    #[error("the token is not for this uid")]
    OtherUid,
}

impl Entrance {
    pub(crate) fn new(auth: Arc<Auth>, limits: Arc<Limits>, metrics: Metrics) -> Arc<Self> {
        metrics.logins_may_be_refused(&Refused::CODES);
        metrics.logins_may_be_refused(&Refusal::CODES);
        Arc::new(Self {
            auth,
            limits,
            metrics,
            complaints: Mutex::default(),
        })
    }

    /// Lets a page open a session, if there is a place for it.
    ///
    /// # Errors
    /// When it, or all pages together, are over a limit; see [`over_limit`].
    pub(in crate::gateway) fn open<B>(
        &self,
        request: &Request<B>,
        way: Way,
        gateway: &'static str,
    ) -> Result<Arc<Visitor>, Over> {
        let peer = request.extensions().get::<Peer>();
        // Every listener says who it is.
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.address);
        let stay = self
            .limits
            .page_opens(peer, way)
            .inspect_err(|over| self.complain(peer, gateway, over.code()))?;
        let mut headers = HeaderMap::new();
        for name in self.auth.wanted_headers() {
            for value in request.headers().get_all(name) {
                // A copy: a slice of the request would keep all of it.
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    headers.append(name.clone(), value);
                }
            }
        }
        Ok(Arc::new(Visitor {
            caller: Caller {
                peer,
                headers: (!headers.is_empty()).then(|| Box::new(headers)),
                gateway,
            },
            stay,
            refusals: AtomicUsize::new(0),
            budget: Mutex::new(self.limits.budget()),
        }))
    }

    /// Judges a login. `payload` is all that the page sent, for who is asked about it.
    pub(in crate::gateway) fn ask(
        &self,
        visitor: &Visitor,
        credential: &[u8],
        payload: Option<&Value>,
    ) -> Verdict {
        let peer = visitor.caller.peer;
        let places = self.auth.places();
        let share = self.limits.page_logs_in(peer).and_then(|()| {
            let share = places.map(|places| self.limits.page_is_judged(peer, places));
            share.transpose()
        });
        let share = match share {
            Ok(share) => share,
            Err(over) => return Verdict::Now(Err(over.into())),
        };
        let claim = Claim {
            credential,
            payload,
            caller: Some(&visitor.caller),
        };
        match self.auth.admit(claim) {
            Admission::Now(verdict) => Verdict::Now(verdict.map_err(Refusal::from)),
            Admission::Later(verdict) => Verdict::Later(Box::pin(async move {
                let _share = share;
                verdict.await.map_err(Refusal::from)
            })),
        }
    }

    /// Notes that a login was refused. True when that was once too often.
    pub(in crate::gateway) fn refused(&self, visitor: &Visitor, refusal: &Refusal) -> bool {
        let code = refusal.code();
        self.metrics.login_refused(code);
        self.complain(visitor.caller.peer, visitor.caller.gateway, code);
        let refusals = visitor.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        self.limits.is_refused_for_good(refusals)
    }

    fn complain(&self, peer: IpAddr, gateway: &'static str, code: &str) {
        let now = Instant::now();
        let mut told = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_old = |at: &Instant| now.duration_since(*at) >= COMPLAINT_INTERVAL;
        if told.len() >= MAX_COMPLAINTS {
            told.retain(|_, at| !is_old(at));
        }
        // As the limits have it, or one network would fill all places, and silence everybody's.
        let known = Limits::peer_address(peer);
        let is_due = told.get(&known).is_none_or(is_old) && told.len() < MAX_COMPLAINTS;
        if is_due {
            told.insert(known, now);
        }
        drop(told);
        if is_due {
            tracing::info!(%peer, gateway, code, "refused; further refusals of this peer are only counted for a minute");
        }
    }
}

impl Visitor {
    /// It says something. False when that is one thing too many.
    pub(in crate::gateway) fn spends(&self) -> bool {
        // Nothing that can panic runs under this lock.
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.spend()
    }

    /// The session goes on over a websocket.
    pub(in crate::gateway) fn no_longer_polls(&self) {
        self.stay.no_longer_polls();
    }
}

impl Refusal {
    /// Every code of its own, and those of limits that a login can meet.
    const CODES: [&'static str; 5] = [
        "already_logged_in",
        "login_pending",
        "other_uid",
        Limit::Logins.name(),
        Limit::PagesPerUid.name(),
    ];

    /// A word for it that stays the same.
    pub(in crate::gateway) fn code(&self) -> &'static str {
        match self {
            Self::Over(over) => over.code(),
            Self::Refused(refused) => refused.code(),
            Self::Second => "already_logged_in",
            Self::Pending => "login_pending",
            Self::OtherUid => "other_uid",
        }
    }
}

/// When a claim that is good until `expires` is good no longer. The clock may be set meanwhile; that
/// much time goes by all the same.
pub(in crate::gateway) fn deadline(expires: Option<SystemTime>) -> Option<Instant> {
    let left = expires?
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    Instant::now().checked_add(left)
}

/// The word and the text for a page whose claim is good no longer.
pub(in crate::gateway) fn expired() -> Refusal {
    Refused::Expired.into()
}

/// Whether a login is for the user whom its page is already.
pub(in crate::gateway) fn renews(auth: &Auth, me: Option<&Uid>, admitted: &Admitted) -> bool {
    !auth.is_open() && me == Some(&admitted.uid)
}

/// The answer to who is over a limit, as JSON: `code` is for programs, `message` for people.
pub(in crate::gateway) fn over_limit(over: Over) -> Response<Body> {
    let json = format!(r#"{{"code":"{}","message":"{over}"}}"#, over.code());
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = if over.is_of_peer() {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::RETRY_AFTER, RETRY_AFTER),
        (header::CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
