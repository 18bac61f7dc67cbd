//! The figures of a server: what happened, counted where it happens, and written out as OpenMetrics
//! text. Knows nothing of what is counted; two servers in one process share nothing.
//!
//! Every counter is found by the numbers of its labels' values: to count is one atomic addition.

mod labels;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use labels::{GATEWAYS, INGRESSES, LIMITS, OUTCOMES, REASONS, WIRES};
pub use labels::{Gateway, Ingress, Limit, Outcome, Reason, Wire};

/// What every name starts with.
const PREFIX: &str = "campanile";

/// Seconds, from a commit that waits for nothing to one that a store's timeout ends.
const COMMIT_BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// What is not counted but read when somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    /// Users who are online.
    pub users: usize,
    /// Pages that have logged in.
    pub sessions: usize,
    /// Pushes that a page which comes back can still get.
    pub log_messages: usize,
    /// Bytes of these.
    pub log_bytes: usize,
    /// Pushes that wait for users who are away.
    pub backlog_messages: usize,
    /// Bytes of these.
    pub backlog_bytes: usize,
}

/// The figures of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    registry: Registry,
    opened: [Counter; GATEWAYS.len()],
    closed: [[Counter; REASONS.len()]; GATEWAYS.len()],
    pushes: [[Counter; OUTCOMES.len()]; INGRESSES.len()],
    deliveries: [Counter; WIRES.len()],
    slow_pages: [Counter; WIRES.len()],
    limited: [Counter; LIMITS.len()],
    logins_refused: Family<Labels, Counter>,
    recoveries: Recoveries,
    backlog: Backlog,
    commits: Histogram,
}

/// Pages that came back.
#[derive(Debug)]
struct Recoveries {
    recovered: Counter,
    not_recovered: Counter,
    replayed: Counter,
}

/// Pushes that waited for a user.
#[derive(Debug)]
struct Backlog {
    kept: Counter,
    confirmed: Counter,
    expired: Counter,
    dropped: Counter,
}

impl Metrics {
    /// Figures that are all zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let names = &mut Names(&mut registry);
        let figures = Figures {
            opened: names.by_one(
                ("sessions_opened", "Pages that have connected"),
                ("gateway", GATEWAYS),
            ),
            closed: names.by_two(
                ("sessions_closed", "Pages whose connection has ended"),
                ("gateway", GATEWAYS),
                ("reason", REASONS),
            ),
            pushes: names.by_two(
                ("pushes", "Pushes taken, and what became of them"),
                ("ingress", INGRESSES),
                ("outcome", OUTCOMES),
            ),
            deliveries: names.by_one(
                ("deliveries", "Messages handed to pages"),
                ("gateway", WIRES),
            ),
            slow_pages: names.by_one(
                (
                    "slow_pages_closed",
                    "Pages that lost their connection because they fell behind",
                ),
                ("gateway", WIRES),
            ),
            limited: names.by_one(
                ("refused_by_limit", "Who was over a limit, and refused"),
                ("limit", LIMITS),
            ),
            logins_refused: names.family(("logins_refused", "Logins that were refused, and why")),
            recoveries: Recoveries::new(names),
            backlog: Backlog::new(names),
            commits: names.commits(),
            registry,
        };
        Self(Arc::new(figures))
    }

    /// A page has connected.
    pub fn opened(&self, gateway: Gateway) {
        self.0.opened[gateway as usize].inc();
    }

    /// A page's connection has ended.
    pub fn closed(&self, gateway: Gateway, reason: Reason) {
        self.0.closed[gateway as usize][reason as usize].inc();
    }

    /// A push was taken, and this became of it.
    pub fn pushed(&self, ingress: Ingress, outcome: Outcome) {
        self.0.pushes[ingress as usize][outcome as usize].inc();
    }

    /// Messages were handed to pages: as many as there were pages.
    pub fn delivered(&self, wire: Wire, messages: u64) {
        self.0.deliveries[wire as usize].inc_by(messages);
    }

    /// A page loses its connection because it fell behind.
    pub fn slow_page_closed(&self, wire: Wire) {
        self.0.slow_pages[wire as usize].inc();
    }

    /// Logins may be refused for these reasons: each is counted from zero.
    pub fn logins_may_be_refused(&self, codes: &[&'static str]) {
        for code in codes {
            self.refusals(code);
        }
    }

    /// A login was refused; `code` is one of those.
    pub fn login_refused(&self, code: &'static str) {
        self.refusals(code).inc();
    }

    fn refusals(&self, code: &'static str) -> Counter {
        self.0
            .logins_refused
            .get_or_create_owned(&vec![("code", code)])
    }

    /// Somebody was over a limit.
    pub fn limited(&self, limit: Limit) {
        self.0.limited[limit as usize].inc();
    }

    /// A page came back and got all that it had missed, so many messages.
    pub fn recovered(&self, messages: u64) {
        self.0.recoveries.recovered.inc();
        self.0.recoveries.replayed.inc_by(messages);
    }

    /// A page came back and had been away for longer than the log reaches.
    pub fn not_recovered(&self) {
        self.0.recoveries.not_recovered.inc();
    }

    /// Pushes wait for a user from now on.
    pub fn backlog_kept(&self, messages: u64) {
        self.0.backlog.kept.inc_by(messages);
    }

    /// Pushes that waited have arrived.
    pub fn backlog_confirmed(&self, messages: u64) {
        self.0.backlog.confirmed.inc_by(messages);
    }

    /// Pushes have waited for too long.
    pub fn backlog_expired(&self, messages: u64) {
        self.0.backlog.expired.inc_by(messages);
    }

    /// Pushes that waited had to go, because more would have waited than may.
    pub fn backlog_dropped(&self, messages: u64) {
        self.0.backlog.dropped.inc_by(messages);
    }

    /// A store has made something durable, within this time.
    pub fn committed(&self, took: Duration) {
        self.0.commits.observe(took.as_secs_f64());
    }

    /// All figures as OpenMetrics text.
    #[must_use]
    pub fn encode(&self, levels: &Levels) -> String {
        let mut text = String::new();
        self.write(levels, &mut text)
            .expect("a string takes any text");
        text
    }

    fn write(&self, levels: &Levels, text: &mut String) -> fmt::Result {
        encode_registry(text, &levels.registry())?;
        encode_registry(text, &self.0.registry)?;
        encode_eof(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Recoveries {
    fn new(names: &mut Names<'_>) -> Self {
        Self {
            recovered: names.counter(
                "sessions_recovered",
                "Pages that came back and got what they had missed",
            ),
            not_recovered: names.counter(
                "sessions_not_recovered",
                "Pages that were away for longer than the log reaches",
            ),
            replayed: names.counter(
                "messages_replayed",
                "Messages that pages which came back were sent again",
            ),
        }
    }
}

impl Backlog {
    fn new(names: &mut Names<'_>) -> Self {
        Self {
            kept: names.counter("backlog_kept", "Pushes kept for a user who was away"),
            confirmed: names.counter("backlog_confirmed", "Pushes that waited and have arrived"),
            expired: names.counter("backlog_expired", "Pushes that waited for too long"),
            dropped: names.counter(
                "backlog_dropped",
                "Pushes that waited and had to go for others",
            ),
        }
    }
}

impl Levels {
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let mut level = |name, help, unit: Option<Unit>, level: usize| {
            // Far beyond what memory holds.
            let gauge = ConstGauge::new(i64::try_from(level).unwrap_or(i64::MAX));
            match unit {
                None => registry.register(name, help, gauge),
                Some(unit) => registry.register_with_unit(name, help, unit, gauge),
            }
        };
        let bytes = || Some(Unit::Bytes);
        level("users", "Users who are online", None, self.users);
        level("sessions", "Pages that are logged in", None, self.sessions);
        let log = "Pushes that a page which comes back can still get";
        level("log_messages", log, None, self.log_messages);
        let log = "Memory of the pushes that a page which comes back can still get";
        level("log", log, bytes(), self.log_bytes);
        let backlog = "Pushes that wait for users who are away";
        level("backlog_messages", backlog, None, self.backlog_messages);
        let backlog = "Size of the pushes that wait for users who are away";
        level("backlog", backlog, bytes(), self.backlog_bytes);
        registry
    }
}

/// Gives figures their names and labels. Every value of a label is there from the start: a figure
/// that appears only when something has happened is easily missed.
struct Names<'a>(&'a mut Registry);

type Labels = Vec<(&'static str, &'static str)>;
type Help = (&'static str, &'static str);

impl Names<'_> {
    fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.clone());
        counter
    }

    fn by_one<const N: usize>(
        &mut self,
        help: Help,
        (label, values): (&'static str, [&'static str; N]),
    ) -> [Counter; N] {
        let family = self.family(help);
        values.map(|value| family.get_or_create_owned(&vec![(label, value)]))
    }

    fn by_two<const N: usize, const M: usize>(
        &mut self,
        help: Help,
        (outer, values): (&'static str, [&'static str; N]),
        (inner, others): (&'static str, [&'static str; M]),
    ) -> [[Counter; M]; N] {
        let family = self.family(help);
        values.map(|value| {
            others.map(|other| family.get_or_create_owned(&vec![(outer, value), (inner, other)]))
        })
    }

    fn family(&mut self, (name, help): Help) -> Family<Labels, Counter> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn commits(&mut self) -> Histogram {
        let commits = Histogram::new(COMMIT_BUCKETS);
        let help = "How long the store took to make a batch durable";
        let (name, unit) = ("commit", Unit::Seconds);
        self.0.register_with_unit(name, help, unit, commits.clone());
        commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|written| written == line)
    }

    #[test]
    fn each_label_stands_by_what_it_says() {
        let metrics = Metrics::new();
        metrics.opened(Gateway::SocketIo);
        for (count, reason) in [
            Reason::Left,
            Reason::Broken,
            Reason::Silent,
            Reason::Slow,
            Reason::Refused,
            Reason::Stopped,
        ]
        .into_iter()
        .enumerate()
        {
            (0..=count).for_each(|_| metrics.closed(Gateway::SocketIo, reason));
        }
        metrics.pushed(Ingress::Web, Outcome::Unkept);
        metrics.delivered(Wire::SocketIo, 7);
        metrics.slow_page_closed(Wire::SocketIo);
        let text = metrics.encode(&Levels::default());
        let closed = |reason, count| {
            format!(
                "campanile_sessions_closed_total{{gateway=\"socketio\",reason=\"{reason}\"}} {count}"
            )
        };
        for line in [
            "campanile_sessions_opened_total{gateway=\"socketio\"} 1",
            "campanile_pushes_total{ingress=\"web\",outcome=\"unkept\"} 1",
            "campanile_deliveries_total{gateway=\"socketio\"} 7",
            "campanile_slow_pages_closed_total{gateway=\"socketio\"} 1",
            &closed("left", 1),
            &closed("broken", 2),
            &closed("silent", 3),
            &closed("slow", 4),
            &closed("refused", 5),
            &closed("stopped", 6),
        ] {
            assert!(has(&text, line), "no {line} in {text}");
        }
    }

    #[test]
    fn what_happens_to_pages_that_come_back_and_to_what_waits_is_counted() {
        let metrics = Metrics::new();
        metrics.recovered(3);
        metrics.recovered(0);
        metrics.not_recovered();
        metrics.backlog_kept(4);
        metrics.backlog_confirmed(2);
        metrics.backlog_expired(1);
        metrics.backlog_dropped(5);
        metrics.committed(Duration::from_millis(2));
        let text = metrics.encode(&Levels {
            users: 1,
            sessions: 2,
            log_messages: 3,
            log_bytes: 4,
            backlog_messages: 5,
            backlog_bytes: 6,
        });
        for line in [
            "campanile_sessions_recovered_total 2",
            "campanile_sessions_not_recovered_total 1",
            "campanile_messages_replayed_total 3",
            "campanile_backlog_kept_total 4",
            "campanile_backlog_confirmed_total 2",
            "campanile_backlog_expired_total 1",
            "campanile_backlog_dropped_total 5",
            "campanile_commit_seconds_count 1",
            "campanile_commit_seconds_bucket{le=\"0.001\"} 0",
            "campanile_commit_seconds_bucket{le=\"0.0025\"} 1",
            "campanile_users 1",
            "campanile_sessions 2",
            "campanile_log_messages 3",
            "campanile_log_bytes 4",
            "campanile_backlog_messages 5",
            "campanile_backlog_bytes 6",
        ] {
            assert!(has(&text, line), "no {line} in {text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn two_servers_share_nothing_and_clones_share_all() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.clone().not_recovered();
        let text = |metrics: &Metrics| metrics.encode(&Levels::default());
        let line = |count| format!("campanile_sessions_not_recovered_total {count}");
        assert!(has(&text(&one), &line(1)));
        assert!(has(&text(&other), &line(0)));
    }
}
