//! What a run found: owns the report's shape (the JSON output is this shape)
//! and its human text.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::bench::answer::Answer;

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) pages: Pages,
    #[serde(flatten)]
    pub(crate) publisher: Publisher,
    /// `all` or `uid`.
    pub(crate) to: &'static str,
    /// Pages per round.
    pub(crate) clients: u32,
    /// Publishes per round.
    pub(crate) publishes: u32,
    /// Message size in bytes.
    pub(crate) size: usize,
    /// Connections to publish over, and publishes in flight at once but for a
    /// pipeline.
    pub(crate) concurrency: u32,
    /// Lost messages of all rounds.
    pub(crate) lost: u64,
    /// Duplicated messages of all rounds.
    pub(crate) duplicated: u64,
    /// Whether every round was clean: nothing lost, duplicated, stray or
    /// refused and no page dropped.
    pub(crate) clean: bool,
    /// One entry per round.
    pub(crate) rounds: Vec<Round>,
}

/// Where and how the pages connected.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Pages {
    SocketIo {
        /// Socket.IO address measured.
        socketio: String,
        /// Engine.IO revision.
        eio: u8,
    },
    Uid {
        /// Uid socket address measured.
        uid_socket: String,
    },
}

/// Where and how the publishes were made.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Publisher {
    Http {
        /// Push address measured.
        http: String,
    },
    Text {
        /// Text port measured.
        text: String,
        /// Lines without a reply on one connection.
        pipeline: u32,
    },
}

/// One round: connect all, publish, leave.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) connect: Connect,
    pub(crate) publish: Publish,
    /// Only with `--pid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
}

/// The connect phase.
#[derive(Debug, Serialize)]
pub(crate) struct Connect {
    /// First connect to last login.
    pub(crate) seconds: f64,
    pub(crate) logins_per_second: f64,
    /// Logins the server never confirmed, by an online count or a pong.
    pub(crate) unconfirmed: u32,
    /// Handshakes tried again.
    pub(crate) retries: u32,
    /// CPU time of the server per connect and login, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us_per_login: Option<f64>,
    /// CPU time of this tool per connect and login, microseconds.
    pub(crate) bench_cpu_us_per_login: f64,
}

/// The publish phase.
#[derive(Debug, Serialize)]
pub(crate) struct Publish {
    /// First publish to last answer or arrival.
    pub(crate) seconds: f64,
    /// Publishes answered, from the first publish to the last answer.
    pub(crate) publishes_per_second: f64,
    /// From the first publish to the last arrival.
    pub(crate) deliveries_per_second: f64,
    /// Deliveries made, each page and message once.
    pub(crate) delivered: u64,
    /// Deliveries missing of publishes answered `ok`.
    pub(crate) lost: u64,
    /// Deliveries made again.
    pub(crate) duplicated: u64,
    /// Messages this round did not publish, or not to that page.
    pub(crate) stray: u64,
    /// Pages that lost their connection.
    pub(crate) dropped: u32,
    /// Online-count and other frames that arrived meanwhile.
    pub(crate) other_frames: u64,
    /// Publish call to arrival at the page.
    pub(crate) latency_ms: Percentiles,
    #[serde(flatten)]
    pub(crate) answer_time: AnswerTime,
    pub(crate) answers: Answers,
    /// CPU time of the server per delivery, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us_per_delivery: Option<f64>,
    /// CPU time of the server per push, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us_per_push: Option<f64>,
    /// CPU time of this tool per delivery, microseconds.
    pub(crate) bench_cpu_us_per_delivery: f64,
    /// Share of the phase in which the reading thread was not waiting; near
    /// 100 the tool may be what bounds the figures.
    pub(crate) reader_busy_percent: f64,
    /// The first thing that went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_error: Option<String>,
}

/// Publish call to answer, by the way of the publisher.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AnswerTime {
    HttpMs(Percentiles),
    TextMs(Percentiles),
}

/// Percentiles in milliseconds; zero when nothing was measured.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Answers by kind.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Answers {
    pub(crate) ok: u32,
    pub(crate) offline: u32,
    pub(crate) fail: u32,
    pub(crate) other: u32,
}

/// Resident memory of the server, KiB.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    /// Before any page of the round connected.
    pub(crate) before_kib: u64,
    /// With all pages connected and idle.
    pub(crate) idle_kib: u64,
    /// Growth from before to idle, per page.
    pub(crate) per_idle_client_kib: f64,
    /// The most seen in the round.
    pub(crate) peak_kib: u64,
    /// After all pages left.
    pub(crate) after_leave_kib: u64,
}

impl Percentiles {
    /// The percentiles of a histogram of microseconds.
    pub(crate) fn of(micros: &Histogram<u64>) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: micros.max() as f64 / 1e3,
        }
    }
}

impl Answers {
    /// Counts `answers` by kind.
    pub(crate) fn of(answers: &[Answer]) -> Self {
        let mut counts = Self::default();
        for answer in answers {
            match answer {
                Answer::Ok => counts.ok += 1,
                Answer::Offline => counts.offline += 1,
                Answer::Fail => counts.fail += 1,
                Answer::Other => counts.other += 1,
            }
        }
        counts
    }
}

impl Publish {
    /// Whether the phase went without a fault.
    pub(crate) fn clean(&self) -> bool {
        let refused = self.answers.offline + self.answers.fail + self.answers.other;
        self.lost == 0
            && self.duplicated == 0
            && self.stray == 0
            && self.dropped == 0
            && refused == 0
    }
}

impl Report {
    /// Writes the report as text.
    ///
    /// # Errors
    /// When `out` fails.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let (clients, publishes, size) = (self.clients, self.publishes, self.size);
        let (to, concurrency) = (self.to, self.concurrency);
        match &self.pages {
            Pages::SocketIo { socketio, eio } => {
                write!(out, "{clients} pages at {socketio} (Engine.IO {eio}), ")?;
            }
            Pages::Uid { uid_socket } => {
                write!(out, "{clients} pages at {uid_socket} (uid socket), ")?;
            }
        }
        write!(out, "{publishes} publishes of {size} bytes to {to} by ")?;
        match &self.publisher {
            Publisher::Http { http } => writeln!(out, "{http}, {concurrency} at once")?,
            Publisher::Text { text, pipeline } => writeln!(
                out,
                "{text} (text), {concurrency} connections, {pipeline} at once on each"
            )?,
        }
        for (number, round) in (1..).zip(&self.rounds) {
            if self.rounds.len() > 1 {
                writeln!(out, "\nround {number}")?;
            }
            round.connect.write_text(out)?;
            round.publish.write_text(out)?;
            if let Some(memory) = &round.memory {
                memory.write_text(out)?;
            }
        }
        let verdict = if self.clean { "clean" } else { "NOT CLEAN" };
        writeln!(
            out,
            "\n{verdict}: {} lost, {} duplicated",
            self.lost, self.duplicated
        )
    }
}

impl Connect {
    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "connect      {:.2} s, {:.0} logins/s, {} retries, {} not confirmed",
            self.seconds, self.logins_per_second, self.retries, self.unconfirmed
        )?;
        if let Some(server) = self.server_cpu_us_per_login {
            let own = self.bench_cpu_us_per_login;
            writeln!(
                out,
                "             cpu per login: server {server:.1} us, bench {own:.1} us"
            )?;
        }
        Ok(())
    }
}

impl Publish {
    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "publish      {:.2} s, {:.0} deliveries/s, {:.0} publishes/s",
            self.seconds, self.deliveries_per_second, self.publishes_per_second
        )?;
        write_percentiles(out, "latency", &self.latency_ms)?;
        match &self.answer_time {
            AnswerTime::HttpMs(values) => write_percentiles(out, "http answer", values)?,
            AnswerTime::TextMs(values) => write_percentiles(out, "text answer", values)?,
        }
        let Answers {
            ok,
            offline,
            fail,
            other,
        } = self.answers;
        writeln!(
            out,
            "answers      {ok} ok, {offline} offline, {fail} fail, {other} other"
        )?;
        writeln!(
            out,
            "deliveries   {} made, {} lost, {} duplicated, {} stray, {} pages dropped, {} other frames",
            self.delivered, self.lost, self.duplicated, self.stray, self.dropped, self.other_frames
        )?;
        if let (Some(delivery), Some(push)) =
            (self.server_cpu_us_per_delivery, self.server_cpu_us_per_push)
        {
            writeln!(
                out,
                "server cpu   {delivery:.2} us per delivery, {push:.1} us per push"
            )?;
        }
        writeln!(
            out,
            "bench cpu    {:.2} us per delivery, reader {:.0}% busy",
            self.bench_cpu_us_per_delivery, self.reader_busy_percent
        )?;
        if let Some(error) = &self.first_error {
            writeln!(out, "first error  {error}")?;
        }
        Ok(())
    }
}

impl Memory {
    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "memory       {} KiB before, {} idle ({:.2} per page), {} peak, {} after leave",
            self.before_kib,
            self.idle_kib,
            self.per_idle_client_kib,
            self.peak_kib,
            self.after_leave_kib
        )
    }
}

fn write_percentiles(out: &mut impl Write, name: &str, values: &Percentiles) -> io::Result<()> {
    let Percentiles { p50, p99, max } = values;
    writeln!(
        out,
        "{name:<12} p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms"
    )
}

#[cfg(test)]
mod tests {
    use super::{Answers, Percentiles};
    use crate::cli::bench::answer::Answer;
    use crate::cli::bench::tally::histogram;

    #[test]
    fn percentiles_are_milliseconds() {
        let mut micros = histogram();
        let empty = Percentiles::of(&micros);
        assert_eq!((empty.p50, empty.max), (0.0, 0.0));
        for value in 1..=1000 {
            micros.saturating_record(value * 100);
        }
        let Percentiles { p50, p99, max } = Percentiles::of(&micros);
        assert!((p50 - 50.0).abs() < 0.1, "{p50}");
        assert!((p99 - 99.0).abs() < 0.1, "{p99}");
        assert!((max - 100.0).abs() < 0.1, "{max}");
    }

    #[test]
    fn answers_are_counted_by_kind() {
        let counts = Answers::of(&[Answer::Ok, Answer::Fail, Answer::Ok, Answer::Other]);
        assert_eq!((counts.ok, counts.fail), (2, 1));
        assert_eq!((counts.offline, counts.other), (0, 1));
    }
}
