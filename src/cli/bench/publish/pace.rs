//! The pace of publishes: owns when the next ones may be made and how many, by
//! rate and by window.

use std::sync::atomic::Ordering;

use crate::cli::bench::publish::{IDLE, Plan, Shared};

/// Longest wait for the window to open, in microseconds.
const WINDOW_WAIT: u64 = 1_000_000;
/// How often a shut window is looked at, in microseconds.
const WINDOW_LOOK: u64 = 100;

/// What the pace allows now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// So many publishes, at least one.
    Now(u32),
    /// None for so many microseconds; a guess, to be asked again then.
    Later(u64),
}

/// The smallest shares in which rate and window are handed out. Shares of one
/// would have a protocol that carries many pushes in a write carry one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) rate: u32,
    pub(super) window: u32,
}

/// The pace of one round.
pub(super) struct Pace<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    share: Share,
    /// When the round began to publish, microseconds of the run.
    began: u64,
    /// Deliveries the window no longer waits for.
    forgiven: u64,
    /// Since when the window has been shut.
    shut_since: Option<u64>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(plan: &'a Plan, shared: &'a Shared, share: Share) -> Self {
        Self {
            plan,
            shared,
            share,
            began: plan.clock.micros(),
            forgiven: 0,
            shut_since: None,
        }
    }

    /// How many publishes may follow the first `next`, of which `in_flight`
    /// have no answer.
    pub(super) fn room(&mut self, next: u32, in_flight: u32) -> Room {
        let left = self.plan.publishes - next;
        if left == 0 {
            return Room::Later(IDLE);
        }
        let now = match (self.plan.rate, self.plan.window) {
            (0, 0) => return Room::Now(left),
            _ => self.plan.clock.micros(),
        };
        let rated = match self.rated(next, now) {
            Room::Now(rated) => rated,
            later @ Room::Later(_) => return later,
        };
        match self.windowed(u64::from(in_flight), now) {
            Room::Now(windowed) => Room::Now(left.min(rated).min(windowed)),
            later @ Room::Later(_) => later,
        }
    }

    fn rated(&self, next: u32, now: u64) -> Room {
        let rate = u64::from(self.plan.rate);
        if rate == 0 {
            return Room::Now(u32::MAX);
        }
        let share = self.share.rate.min(self.plan.publishes - next);
        let wait = u64::from(next + share - 1) * 1_000_000 / rate;
        let early = (self.began + wait).saturating_sub(now);
        if early > 0 {
            return Room::Later(early.min(IDLE));
        }
        let due = (now - self.began) * rate / 1_000_000 + 1;
        let room = due.saturating_sub(u64::from(next)).max(u64::from(share));
        Room::Now(u32::try_from(room).unwrap_or(u32::MAX))
    }

    fn windowed(&mut self, in_flight: u64, now: u64) -> Room {
        if self.plan.window == 0 {
            return Room::Now(u32::MAX);
        }
        let pages = u64::from(self.plan.pages);
        let due = self.shared.due.load(Ordering::Acquire) + in_flight * pages;
        let done = self.shared.delivered.load(Ordering::Relaxed) + self.forgiven;
        let room = (done + u64::from(self.plan.window) * pages).saturating_sub(due) / pages;
        let mut room = u32::try_from(room).unwrap_or(u32::MAX);
        if room < self.share.window {
            let since = *self.shut_since.get_or_insert(now);
            if now - since < WINDOW_WAIT {
                return Room::Later(WINDOW_LOOK);
            }
            self.forgiven += due - done;
            room = self.plan.window;
        }
        self.shut_since = None;
        Room::Now(room)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    use super::{Pace, Room, Share};
    use crate::cli::bench::Clock;
    use crate::cli::bench::publish::{IDLE, Plan, Protocol, Shared};
    use crate::cli::bench::target::Target;

    fn plan(rate: u32, window: u32) -> Plan {
        Plan {
            clock: Clock(Instant::now()),
            protocol: Protocol::Text { pipeline: 100 },
            target: Target::parse_text("--text", "127.0.0.1:1").expect("an address"),
            publishes: 1000,
            base: 0,
            size: 0,
            targets: None,
            pages: 1,
            concurrency: 1,
            rate,
            window,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn without_rate_and_window_all_may_go_at_once() {
        let (plan, shared) = (plan(0, 0), Shared::default());
        let share = Share { rate: 1, window: 1 };
        let mut pace = Pace::new(&plan, &shared, share);
        assert_eq!(pace.room(10, 5), Room::Now(990));
        assert_eq!(pace.room(1000, 5), Room::Later(IDLE));
    }

    #[test]
    fn the_window_counts_what_is_answered_and_what_is_not() {
        let (plan, shared) = (plan(0, 80), Shared::default());
        let share = Share {
            rate: 1,
            window: 10,
        };
        let mut pace = Pace::new(&plan, &shared, share);
        assert_eq!(pace.room(0, 0), Room::Now(80));
        shared.due.store(40, Ordering::Relaxed);
        shared.delivered.store(10, Ordering::Relaxed);
        assert_eq!(pace.room(80, 40), Room::Now(10));
        assert!(matches!(pace.room(80, 41), Room::Later(_)));
    }

    #[test]
    fn a_rate_is_handed_out_in_shares() {
        let (plan, shared) = (plan(10, 0), Shared::default());
        let share = Share {
            rate: 20,
            window: 1,
        };
        let mut pace = Pace::new(&plan, &shared, share);
        assert_eq!(pace.room(0, 0), Room::Later(IDLE));
        pace.share.rate = 1;
        assert!(matches!(pace.room(0, 0), Room::Now(_)));
    }
}
