//! One round: owns the order of its phases (connect, settle, idle, publish,
//! leave), when each is over, and the samples taken around them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::ProgressBar;

use crate::cli::bench::answer::Answer;
use crate::cli::bench::pool::Pool;
use crate::cli::bench::procfs::Process;
use crate::cli::bench::publish::{self, Outcome, Plan, Protocol, Shared};
use crate::cli::bench::report::{
    AnswerTime, Answers, Connect, Memory, Percentiles, Publish, Round,
};
use crate::cli::bench::tally::Tally;
use crate::cli::bench::{BenchArgs, Clock, progress};

/// Longest wait for events in one turn of the loop.
const TURN: Duration = Duration::from_millis(20);
/// Without frames for this long the server has said all (online counts come
/// about once a second), microseconds.
const QUIET: u64 = 1_200_000;
/// Longest wait for quiet, microseconds.
const SETTLE: u64 = 6_000_000;
/// How long duplicates are waited for after the last delivery, microseconds.
const GRACE: u64 = 200_000;
/// Interval of memory samples, microseconds.
const SAMPLE: u64 = 100_000;

/// Samples of the server's memory.
struct Watch {
    server: Option<Process>,
    clock: Clock,
    peak: u64,
    next: u64,
}

impl Watch {
    /// Resident KiB now, 0 without a server to look at.
    fn resident(&mut self) -> Result<u64> {
        let Some(server) = self.server else {
            return Ok(0);
        };
        let resident = server.resident_kib()?;
        self.peak = self.peak.max(resident);
        Ok(resident)
    }

    /// Takes a sample for the peak when one is due.
    fn tick(&mut self) -> Result<()> {
        let now = self.clock.micros();
        if now >= self.next {
            self.next = now + SAMPLE;
            self.resident()?;
        }
        Ok(())
    }

    /// CPU time of the server, if it is looked at, and of this process.
    fn cpu(&self) -> Result<(Option<u64>, u64)> {
        let server = self.server.map(Process::cpu_micros).transpose()?;
        Ok((server, Process::Own.cpu_micros()?))
    }
}

/// Runs round `number` (from 0 on) with the plan of its publishes.
///
/// # Errors
/// When not all pages can log in, the push address cannot be reached, or the
/// server process is gone.
pub(crate) fn run(args: &BenchArgs, pool: &mut Pool, plan: Plan) -> Result<Round> {
    let clock = plan.clock;
    let mut watch = Watch {
        server: args.pid.map(Process::Id),
        clock,
        peak: 0,
        next: 0,
    };
    let before = watch.resident()?;
    let connect = connect(args, pool, &mut watch)?;
    settle(pool, &mut watch)?;
    let until = clock.micros() + args.idle * 1_000_000;
    while clock.micros() < until {
        pool.turn(TURN)?;
        watch.tick()?;
    }
    let idle = watch.resident()?;
    let publish = push(args, pool, &mut watch, plan)?;
    pool.leave();
    let until = clock.micros() + args.leave_wait * 1_000_000;
    while clock.micros() < until && watch.server.is_some() {
        pool.turn(TURN)?;
        watch.tick()?;
    }
    let after_leave = watch.resident()?;
    let grown = idle as f64 - before as f64;
    let memory = watch.server.map(|_| Memory {
        before_kib: before,
        idle_kib: idle,
        per_idle_client_kib: grown / f64::from(args.clients),
        peak_kib: watch.peak,
        after_leave_kib: after_leave,
    });
    Ok(Round {
        connect,
        publish,
        memory,
    })
}

/// Connects and logs in all pages.
fn connect(args: &BenchArgs, pool: &mut Pool, watch: &mut Watch) -> Result<Connect> {
    let clients = args.clients;
    let bar = progress("connecting", u64::from(clients));
    let cpu = watch.cpu()?;
    pool.begin_connects();
    let mut moved = (0, watch.clock.micros());
    loop {
        pool.drive_connects();
        pool.turn(TURN.min(Duration::from_millis(5)))?;
        watch.tick()?;
        let counts = &pool.counts;
        bar.set_position(u64::from(counts.confirmed));
        if counts.confirmed == clients {
            break;
        }
        if counts.failed + counts.dropped > 0 {
            let (flag, url) = args.page_address();
            bail!(
                "{} of {clients} pages could not log in at {flag} {url}: {}",
                counts.failed + counts.dropped,
                counts.first_error.as_deref().unwrap_or("no reason known")
            );
        }
        let now = watch.clock.micros();
        if moved.0 != counts.logged_in + counts.confirmed {
            moved = (counts.logged_in + counts.confirmed, now);
        }
        let still = now - moved.1;
        if counts.logged_in == clients && still > QUIET {
            // A server that does not answer logins has had the time for them.
            break;
        }
        if still > args.timeout * 1_000_000 {
            bail!(
                "--timeout {}: {} of {clients} pages logged in, then nothing more happened \
                 (first error: {})",
                args.timeout,
                counts.logged_in,
                counts.first_error.as_deref().unwrap_or("none")
            );
        }
    }
    bar.finish_and_clear();
    let (server, own) = since(cpu, watch.cpu()?);
    let pages = f64::from(clients);
    let seconds = (pool.counts.last_login - pool.queue.began) as f64 / 1e6;
    Ok(Connect {
        seconds,
        logins_per_second: pages / seconds,
        unconfirmed: clients - pool.counts.confirmed,
        retries: pool.counts.retries,
        server_cpu_us_per_login: server.map(|micros| micros / pages),
        bench_cpu_us_per_login: own / pages,
    })
}

/// Lets the online counts of the logins run out.
fn settle(pool: &mut Pool, watch: &mut Watch) -> Result<()> {
    let began = watch.clock.micros();
    loop {
        pool.turn(TURN)?;
        watch.tick()?;
        let now = watch.clock.micros();
        let quiet = now - began.max(pool.counts.last_frame);
        if quiet > QUIET || now - began > SETTLE {
            return Ok(());
        }
    }
}

/// Publishes and waits for the deliveries.
fn push(args: &BenchArgs, pool: &mut Pool, watch: &mut Watch, plan: Plan) -> Result<Publish> {
    let clock = plan.clock;
    let due = u64::from(plan.publishes) * u64::from(plan.pages);
    let bar = progress("publishing", due);
    pool.tally = Tally::new(
        plan.base,
        plan.publishes,
        args.clients,
        plan.targets.clone(),
    );
    let (other, waited) = (pool.counts.other, pool.waited);
    let (plan, shared) = (Arc::new(plan), Arc::new(Shared::default()));
    let (cpu, began) = (watch.cpu()?, clock.micros());
    let thread = publish::start(&plan, &shared)?;
    let waiting = Waiting {
        thread: &thread,
        shared: &shared,
        bar: &bar,
        limit: args.timeout * 1_000_000,
    };
    await_deliveries(pool, watch, &waiting)?;
    let (server, own) = since(cpu, watch.cpu()?);
    let waited = pool.waited - waited;
    let phase = clock.micros() - began;
    let until = clock.micros() + GRACE;
    while clock.micros() < until {
        pool.turn(TURN)?;
    }
    bar.finish_and_clear();
    let Ok(made) = thread.join() else {
        bail!("the publisher panicked");
    };
    let (tally, counts) = (&pool.tally, &pool.counts);
    let arrived = tally.last_arrival.max(began) - began;
    let answered = made.ended.max(began) - began;
    let deliveries = tally.delivered.max(1) as f64;
    Ok(Publish {
        seconds: arrived.max(answered) as f64 / 1e6,
        publishes_per_second: per_second(u64::from(made.answered), answered),
        deliveries_per_second: per_second(tally.delivered, arrived),
        delivered: tally.delivered,
        lost: tally.lost(plan.pages, |index| made.answers[index] == Answer::Ok),
        duplicated: tally.duplicated,
        stray: tally.stray,
        dropped: counts.dropped,
        other_frames: counts.other - other,
        latency_ms: Percentiles::of(&tally.latency),
        answer_time: match plan.protocol {
            Protocol::Http => AnswerTime::HttpMs(Percentiles::of(&made.waits)),
            Protocol::Text { .. } => AnswerTime::TextMs(Percentiles::of(&made.waits)),
        },
        answers: Answers::of(&made.answers),
        server_cpu_us_per_delivery: server.map(|micros| micros / deliveries),
        server_cpu_us_per_push: server.map(|micros| micros / f64::from(plan.publishes.max(1))),
        bench_cpu_us_per_delivery: own / deliveries,
        reader_busy_percent: 100.0 - 100.0 * waited as f64 / phase.max(1) as f64,
        first_error: made.error.or_else(|| counts.first_error.clone()),
    })
}

/// What the wait for deliveries looks at.
struct Waiting<'a> {
    thread: &'a JoinHandle<Outcome>,
    shared: &'a Shared,
    bar: &'a ProgressBar,
    /// Longest wait without a delivery once all is published, microseconds.
    limit: u64,
}

/// Turns the loop until all is published and all that is due has arrived, or
/// nothing more arrives.
fn await_deliveries(pool: &mut Pool, watch: &mut Watch, waiting: &Waiting<'_>) -> Result<()> {
    let mut moved = (0, watch.clock.micros());
    loop {
        pool.turn(TURN)?;
        watch.tick()?;
        let delivered = pool.tally.delivered;
        waiting.shared.delivered.store(delivered, Ordering::Relaxed);
        waiting.bar.set_position(delivered);
        let now = watch.clock.micros();
        let published = waiting.thread.is_finished();
        if !published || moved.0 != delivered {
            moved = (delivered, now);
        }
        let due = waiting.shared.due.load(Ordering::Acquire);
        if published && (delivered >= due || now - moved.1 > waiting.limit) {
            return Ok(());
        }
    }
}

/// CPU microseconds between two readings: the server's and ours.
fn since(from: (Option<u64>, u64), to: (Option<u64>, u64)) -> (Option<f64>, f64) {
    let spent = |from: u64, to: u64| to.saturating_sub(from) as f64;
    let server = from.0.zip(to.0).map(|(from, to)| spent(from, to));
    (server, spent(from.1, to.1))
}

fn per_second(count: u64, micros: u64) -> f64 {
    count as f64 * 1e6 / micros.max(1) as f64
}
