//! How much a peer, and all of them, may take of the server. Knows no wire.
//!
//! A limit is met at the door: who is over it is told so and counted, and nobody who is in already
//! notices.

mod doors;
mod memory;
mod rates;
mod shares;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::metrics::{Limit, Metrics};
use doors::Doors;
pub use doors::{Seat, Stay, Way};
use memory::Memory;
pub use rates::Budget;
use rates::Rates;
pub use shares::Share;
use shares::Shares;

/// How often those are forgotten who have been quiet.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Somebody is over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", reason(*.0))]
pub struct Over(pub Limit);

/// The limits of one server, and how far they are used up.
#[derive(Debug)]
pub struct Limits {
    exempt: Vec<IpNet>,
    doors: Arc<Doors>,
    rates: Rates,
    /// Of the logins that somebody is asked about.
    judged: Arc<Shares>,
    memory: Memory,
    events_per_second: u32,
    pages_per_uid: usize,
    refused_logins: usize,
    metrics: Metrics,
}

/// Whose limits apply: an address, or the network of 2^64 addresses that one customer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Peer(IpAddr);

impl Limits {
    /// As `config` says; as many connections as the process may have, if it says nothing.
    #[must_use]
    pub fn new(config: &config::Limits, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            exempt: config.exempt.clone(),
            doors: Arc::new(Doors::new(config)),
            rates: Rates::new(config),
            judged: Arc::default(),
            memory: Memory::new(config),
            events_per_second: config.events_per_second,
            pages_per_uid: config.pages_per_uid,
            refused_logins: config.refused_logins,
            metrics: metrics.clone(),
        })
    }

    /// A page's connection has been accepted; it counts until the seat is dropped. `None` is a proxy,
    /// which brings any number of them.
    ///
    /// # Errors
    /// When there are too many.
    pub fn page_connects(&self, peer: Option<IpAddr>) -> Result<Seat, Over> {
        let peer = peer.and_then(|peer| self.peer(peer));
        self.count(self.doors.page(peer))
    }

    /// A proxy has said whose connection it is: it counts as that peer's, too.
    ///
    /// # Errors
    /// When the peer has too many.
    pub fn page_is_of(&self, seat: &mut Seat, peer: IpAddr) -> Result<(), Over> {
        self.count(seat.is_of(self.peer(peer)))
    }

    /// A listener has no place for one more connection.
    pub fn is_full(&self) -> Over {
        self.metrics.limited(Limit::Connections);
        Over(Limit::Connections)
    }

    /// The address that stands for a peer: of IPv6 the network's.
    #[must_use]
    pub fn peer_address(address: IpAddr) -> IpAddr {
        Peer::of(address.to_canonical()).0
    }

    /// A publisher's connection has been accepted; it counts until the seat is dropped. `None` is a
    /// proxy, which brings any number of them.
    ///
    /// # Errors
    /// When there are too many, of all or of this peer.
    pub fn publisher_connects(&self, peer: Option<IpAddr>) -> Result<Seat, Over> {
        let peer = peer.and_then(|peer| self.peer(peer));
        self.count(self.doors.publisher(peer))
    }

    /// The same for one that pushes lines: such may stay idle, and must not keep others out.
    ///
    /// # Errors
    /// When there are too many, of all or of this peer.
    pub fn line_connects(&self, peer: Option<IpAddr>) -> Result<Seat, Over> {
        let peer = peer.and_then(|peer| self.peer(peer));
        self.count(self.doors.lines(peer))
    }

    /// A page wants to open a session; it counts until the stay is dropped.
    ///
    /// # Errors
    /// When it may not now.
    pub fn page_opens(&self, peer: IpAddr, way: Way) -> Result<Stay, Over> {
        let peer = self.peer(peer);
        let open = || {
            if self.memory.is_short() {
                return Err(Over(Limit::Memory));
            }
            if !peer.is_none_or(|peer| self.rates.handshake(peer)) {
                return Err(Over(Limit::Handshakes));
            }
            self.doors.session(peer, way)
        };
        self.count(open())
    }

    /// A page wants to log in.
    ///
    /// # Errors
    /// When its peer does so too often.
    pub fn page_logs_in(&self, peer: IpAddr) -> Result<(), Over> {
        let may = self.peer(peer).is_none_or(|peer| self.rates.login(peer));
        self.count(if may {
            Ok(())
        } else {
            Err(Over(Limit::Logins))
        })
    }

    /// Somebody is to be asked about a login of a page, who can be asked about so many at a time; it counts
    /// until the share is dropped.
    ///
    /// # Errors
    /// When its peer has a quarter of them already.
    pub fn page_is_judged(&self, peer: IpAddr, places: usize) -> Result<Share, Over> {
        let share = Shares::take(&self.judged, self.peer(peer), places);
        self.count(share.ok_or(Over(Limit::Logins)))
    }

    /// A user who has so many pages opens one more.
    ///
    /// # Errors
    /// When that is one too many.
    pub fn user_opens(&self, pages: usize) -> Result<(), Over> {
        let may = self.pages_per_uid == 0 || pages < self.pages_per_uid;
        self.count(if may {
            Ok(())
        } else {
            Err(Over(Limit::PagesPerUid))
        })
    }

    /// What one page may say.
    #[must_use]
    pub fn budget(&self) -> Budget {
        Budget::new(self.events_per_second)
    }

    /// A page has said more than its budget.
    pub fn talks_too_much(&self) -> Over {
        self.metrics.limited(Limit::Events);
        Over(Limit::Events)
    }

    /// Whether a page that was refused so often has to go.
    #[must_use]
    pub fn is_refused_for_good(&self, refusals: usize) -> bool {
        self.refused_logins > 0 && refusals >= self.refused_logins
    }

    /// Looks at the memory, and forgets who has been quiet, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(self.memory.interval());
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = looks.tick() => self.memory.look(),
                _ = sweeps.tick() => self.rates.sweep(),
            }
        }
    }

    /// `None` where no limit of a peer applies.
    fn peer(&self, address: IpAddr) -> Option<Peer> {
        let address = address.to_canonical();
        let is_exempt = self.exempt.iter().any(|net| net.contains(&address));
        (!is_exempt).then(|| Peer::of(address))
    }

    fn count<T>(&self, asked: Result<T, Over>) -> Result<T, Over> {
        if let Err(Over(limit)) = &asked {
            self.metrics.limited(*limit);
        }
        asked
    }
}

impl Over {
    /// Whether it is this peer who asks for too much, and not all of them together.
    #[must_use]
    pub fn is_of_peer(self) -> bool {
        match self.0 {
            Limit::PeerConnections
            | Limit::Handshakes
            | Limit::Logins
            | Limit::Events
            | Limit::PagesPerUid => true,
            Limit::Connections | Limit::PushConnections | Limit::Polling | Limit::Memory => false,
        }
    }

    /// The same in one word, for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.name()
    }
}

impl Peer {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self(address),
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                Self(std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

fn reason(limit: Limit) -> &'static str {
    match limit {
        Limit::Connections => "the server has as many connections as it can take; try again later",
        Limit::PushConnections => "too many connections push at a time; try again later",
        Limit::PeerConnections => "too many connections from this address",
        Limit::Handshakes => "too many new connections from this address; try again later",
        Limit::Logins => "too many logins from this address; try again later",
        Limit::Events => "too many messages",
        Limit::Polling => "the server has as many polling pages as it can take; try again later",
        Limit::Memory => "the server is short of memory; try again later",
        Limit::PagesPerUid => "this user has too many pages open",
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, Over, Way};
    use crate::config;
    use crate::metrics::{Limit, Metrics};
    use std::net::IpAddr;
    use std::sync::Arc;

    fn limits(change: impl FnOnce(&mut config::Limits)) -> Arc<Limits> {
        let mut config = config::Limits::default();
        change(&mut config);
        Limits::new(&config, &Metrics::new())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_peer_gets_so_many_sessions_and_no_more_until_one_ends() {
        let limits = limits(|limits| limits.connections_per_peer = 2);
        let opens = |peer: &str| limits.page_opens(ip(peer), Way::Websocket);
        let first = opens("192.0.2.1").expect("the first");
        let _second = opens("192.0.2.1").expect("the second");
        assert_eq!(opens("192.0.2.1").err(), Some(Over(Limit::PeerConnections)));
        assert!(opens("192.0.2.2").is_ok(), "another peer");
        drop(first);
        assert!(opens("192.0.2.1").is_ok(), "one has ended");
    }

    #[test]
    fn one_customers_network_of_six_is_one_peer_and_an_address_of_four_within_six_is_itself() {
        let limits = limits(|limits| limits.connections_per_peer = 1);
        let opens = |peer: &str| limits.page_opens(ip(peer), Way::Websocket);
        let _first = opens("2001:db8:1:2::1").expect("the first");
        assert!(opens("2001:db8:1:2:ffff::9").is_err());
        assert!(opens("2001:db8:1:3::1").is_ok());
        let _four = opens("::ffff:192.0.2.1").expect("the first of its address");
        assert!(opens("192.0.2.1").is_err());
        assert!(opens("::ffff:127.0.0.1").is_ok(), "exempt");
    }

    #[test]
    fn a_session_that_no_longer_polls_makes_room_for_one_that_does() {
        let limits = limits(|limits| limits.polling_sessions = 1);
        let opens = || limits.page_opens(ip("192.0.2.1"), Way::Polling);
        let first = opens().expect("the first");
        assert_eq!(opens().err(), Some(Over(Limit::Polling)));
        first.no_longer_polls();
        first.no_longer_polls();
        let _second = opens().expect("there is room");
        assert!(opens().is_err());
        drop(first);
        assert!(opens().is_err(), "it was taken off once");
    }

    #[test]
    fn handshakes_and_logins_are_counted_by_peer_and_over_time() {
        let limits = limits(|limits| {
            limits.handshakes_per_second = 1;
            limits.logins_per_second = 1;
        });
        let peer = ip("192.0.2.1");
        let opened = (0..50).filter(|_| limits.page_opens(peer, Way::Websocket).is_ok());
        assert!((10..=12).contains(&opened.count()));
        let logins = (0..50).filter(|_| limits.page_logs_in(peer).is_ok());
        assert!((10..=12).contains(&logins.count()));
        assert!(limits.page_logs_in(ip("192.0.2.2")).is_ok());
        let exempt = (0..50).filter(|_| limits.page_logs_in(ip("127.0.0.1")).is_ok());
        assert_eq!(exempt.count(), 50);
    }

    #[test]
    fn a_peer_gets_its_part_of_the_logins_that_are_asked_about_until_they_end() {
        let limits = limits(|_| {});
        let asks = |peer: &str, places| limits.page_is_judged(ip(peer), places);
        let first = asks("192.0.2.1", 8).expect("the first");
        let _second = asks("192.0.2.1", 8).expect("the second");
        assert_eq!(asks("192.0.2.1", 8).err(), Some(Over(Limit::Logins)));
        assert!(asks("192.0.2.2", 8).is_ok(), "another peer");
        drop(first);
        assert!(asks("192.0.2.1", 8).is_ok(), "one has ended");
        let _only = asks("192.0.2.3", 1).expect("at least one");
        assert!(asks("192.0.2.3", 1).is_err());
        let exempt: Vec<_> = (0..9).map(|_| asks("127.0.0.1", 8)).collect();
        assert!(exempt.iter().all(Result::is_ok));
    }

    #[test]
    fn all_connections_together_have_a_limit_and_publishers_have_their_own() {
        let limits = limits(|limits| {
            limits.connections = 1;
            limits.reserve = 4;
        });
        let page = limits
            .page_connects(Some(ip("127.0.0.1")))
            .expect("the first");
        assert_eq!(
            limits.page_connects(Some(ip("192.0.2.7"))).err(),
            Some(Over(Limit::Connections))
        );
        let backend = || limits.publisher_connects(Some(ip("127.0.0.1")));
        let seats = [(); 2].map(|()| backend());
        assert!(seats.iter().all(Result::is_ok));
        assert_eq!(backend().err(), Some(Over(Limit::PushConnections)));
        drop((page, seats));
        assert!(limits.page_connects(Some(ip("192.0.2.7"))).is_ok());
        assert!(backend().is_ok());
    }

    #[test]
    fn one_peer_gets_half_the_seats_of_publishers_and_leaves_the_rest_to_others() {
        let limits = limits(|limits| limits.reserve = 16);
        type Enters = fn(&Limits, Option<IpAddr>) -> Result<super::Seat, Over>;
        let ways: [(Enters, usize); 2] = [
            (|limits, peer| limits.publisher_connects(peer), 8),
            (|limits, peer| limits.line_connects(peer), 4),
        ];
        for (enters, most) in ways {
            let enter = |peer: Option<&str>| enters(&limits, peer.map(ip));
            let stranger = Some("2001:db8:1:2::1");
            let mut seats: Vec<_> = (0..most / 2).map(|_| enter(stranger)).collect();
            assert!(seats.iter().all(Result::is_ok));
            // The whole network of a customer counts as one.
            for peer in [stranger, Some("2001:db8:1:2:ffff::9")] {
                assert_eq!(enter(peer).err(), Some(Over(Limit::PeerConnections)));
            }
            seats.pop();
            seats.push(enter(stranger));
            // A backend on this machine, and a proxy, get whatever is left.
            seats.push(enter(None));
            seats.extend((1..most / 2).map(|_| enter(Some("127.0.0.1"))));
            assert!(seats.iter().all(Result::is_ok));
            assert_eq!(enter(None).err(), Some(Over(Limit::PushConnections)));
            drop(seats);
            assert!(enter(stranger).is_ok());
        }
    }

    #[test]
    fn no_page_is_let_in_while_memory_is_short() {
        let limits = limits(|limits| limits.memory = bytesize::ByteSize::b(1));
        limits.memory.look();
        let opened = limits.page_opens(ip("127.0.0.1"), Way::Websocket);
        assert_eq!(opened.err(), Some(Over(Limit::Memory)));
    }
}
