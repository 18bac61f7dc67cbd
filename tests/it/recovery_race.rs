//! Logins, goodbyes and pushes at the same instants: no page misses a message that came after its
//! beginning, none gets one twice, and all get them in order.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::harness::http::Http;
use crate::harness::page::{Dialect, EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::process::Process;
use crate::harness::recovery::message;
use crate::harness::within;

/// Logins during which at least one push was accepted. Without optimization fewer, for the time.
const ROUNDS: usize = if cfg!(debug_assertions) {
    16_000
} else {
    40_000
};

/// Pages that come, log in and leave together.
const PAGES: usize = 48;

/// Backends that push at once, each a sequence of its own.
const PUBLISHERS: usize = 2;

/// Whom a push is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Everyone,
    /// The users of the pages whose number, divided by two, leaves this.
    Half(usize),
}

/// How a page comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// As a stock page does, whose user was here before.
    Returning,
    /// With what it has up to.
    Since,
    /// As somebody who was never here.
    Fresh,
}

/// One backend's sequence.
#[derive(Debug, Default)]
struct Sequence {
    /// Whom each push was for, from the moment on at which it is sent.
    sent: Mutex<Vec<For>>,
    /// How many were answered.
    answered: AtomicUsize,
}

#[derive(Debug)]
struct Race {
    socketio: SocketAddr,
    http: SocketAddr,
    sequences: [Sequence; PUBLISHERS],
    orders: Vec<mpsc::Sender<Order>>,
    /// Logins that were not alone.
    raced: AtomicUsize,
}

#[derive(Debug)]
enum Order {
    /// One push, while this batch is here.
    Push(usize),
    /// The last that the batch gets.
    End(usize),
}

/// What is known of a page of a batch; a returning one hands it on to the next.
#[derive(Debug)]
struct Member {
    index: usize,
    batch: usize,
    /// The last that it got of each sequence; before its first message, the last that it has.
    last: [Option<usize>; PUBLISHERS],
    /// Where nothing is known of it: what was accepted before the first of these it does not get,
    /// what is from the second on it does.
    window: [(usize, usize); PUBLISHERS],
    /// The number of the last message.
    id: Option<u64>,
    ends: usize,
}

impl Race {
    fn lock(&self, publisher: usize) -> std::sync::MutexGuard<'_, Vec<For>> {
        let sent = self.sequences[publisher].sent.lock();
        sent.unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self, of: impl Fn(usize) -> usize) -> [usize; PUBLISHERS] {
        std::array::from_fn(of)
    }

    fn begun(&self) -> [usize; PUBLISHERS] {
        self.counts(|publisher| self.lock(publisher).len())
    }

    fn answered(&self) -> [usize; PUBLISHERS] {
        self.counts(|publisher| self.sequences[publisher].answered.load(Ordering::SeqCst))
    }

    async fn asks_for_a_push(&self, publisher: usize, batch: usize) {
        let order = Order::Push(batch);
        self.orders[publisher]
            .send(order)
            .await
            .expect("the publisher is there");
    }

    /// Pushes what is ordered, one after the other over one connection.
    async fn publishes(self: Arc<Self>, publisher: usize, mut orders: mpsc::Receiver<Order>) {
        let mut http = Http::open(self.http).await;
        while let Some(order) = orders.recv().await {
            let (batch, is_end) = match order {
                Order::Push(batch) => (batch, false),
                Order::End(batch) => (batch, true),
            };
            let number = self.lock(publisher).len();
            let target = match number % 3 {
                _ if is_end => For::Everyone,
                2 => For::Everyone,
                half => For::Half(half),
            };
            self.lock(publisher).push(target);
            let to = match target {
                For::Everyone => "to=".to_owned(),
                For::Half(half) => {
                    let pages = (0..PAGES).filter(|page| page % 2 == half);
                    let users = pages.map(|page| format!("to[]={}", uid(page, batch)));
                    users.collect::<Vec<_>>().join("&")
                }
            };
            let mark = if is_end { ".end" } else { "" };
            http.get(&format!(
                "/?type=publish&{to}&content={publisher}.{number}{mark}"
            ))
            .await;
            assert_eq!(http.answer().await.status, 200);
            let answered = &self.sequences[publisher].answered;
            answered.store(number + 1, Ordering::SeqCst);
        }
    }

    /// One page, from its connect to its goodbye.
    async fn visits(self: Arc<Self>, mut member: Member, logged_in: mpsc::Sender<()>) -> Member {
        let (answered, begun) = (self.answered(), self.begun());
        let (index, batch) = (member.index, member.batch);
        let publisher = index / 6 % PUBLISHERS;
        // Before it connects, or with its login.
        let (is_early, is_late) = (index % 12 == 0, index % 12 == 6);
        if is_early {
            self.asks_for_a_push(publisher, batch).await;
        }
        let mut page = within(
            "the connect",
            Page::connect(self.socketio, member.dialect()),
        )
        .await;
        page.sends(&format!(r#"427["login",{}]"#, member.claim()))
            .await;
        if is_late {
            self.asks_for_a_push(publisher, batch).await;
        }
        let mut is_in = false;
        while !is_in || member.ends < PUBLISHERS {
            let packet = page.next_packet().await.expect("no page is cut");
            if packet.starts_with("437") {
                is_in = true;
                let now = self.begun();
                self.raced
                    .fetch_add(usize::from(now != begun), Ordering::SeqCst);
                member.window = std::array::from_fn(|p| (answered[p], now[p]));
                logged_in.send(()).await.ok();
            } else if let Some((content, id)) = message(&packet) {
                assert!(is_in, "{content} came before the answer to {member:?}");
                member.hears(&content, id, &self);
            }
        }
        page.says_goodbye().await;
        while let Some(packet) = page.next_packet().await {
            assert!(message(&packet).is_none(), "after the end came {packet}");
        }
        member
    }

    /// A batch of pages, each of which gets what it has to get.
    async fn runs(self: &Arc<Self>, members: Vec<Member>) -> Vec<Member> {
        let batch = members[0].batch;
        // As the pages of the batch before are leaving, and some are about to come back.
        for publisher in 0..PUBLISHERS {
            self.asks_for_a_push(publisher, batch).await;
        }
        let (logged_in, mut logins) = mpsc::channel(PAGES);
        let visits: Vec<_> = members
            .into_iter()
            .map(|member| tokio::spawn(Arc::clone(self).visits(member, logged_in.clone())))
            .collect();
        drop(logged_in);
        // Ends early where a page fails; its own words say why.
        let all = async {
            let mut count = 0;
            while count < PAGES && logins.recv().await.is_some() {
                count += 1;
            }
        };
        within("the logins", all).await;
        for orders in &self.orders {
            let order = Order::End(batch);
            orders.send(order).await.expect("the publisher is there");
        }
        let mut left = Vec::new();
        for visit in visits {
            left.push(visit.await.expect("each page gets what it has to get"));
        }
        left
    }
}

impl Member {
    fn new(index: usize) -> Self {
        Self {
            index,
            batch: 0,
            last: [None; PUBLISHERS],
            window: [(0, 0); PUBLISHERS],
            id: None,
            ends: 0,
        }
    }

    /// The same page of the next batch: who returns knows what it has.
    fn again(self) -> Self {
        let next = Self {
            batch: self.batch + 1,
            ..Self::new(self.index)
        };
        if role(self.index) == Role::Fresh {
            return next;
        }
        Self {
            last: self.last,
            id: self.id,
            ..next
        }
    }

    fn dialect(&self) -> Dialect {
        [EIO3_WEBSOCKET, EIO4_WEBSOCKET][(self.index / 2 + self.batch) % 2]
    }

    fn claim(&self) -> String {
        let uid = uid(self.index, self.batch);
        match (role(self.index), self.id) {
            (Role::Since, Some(since)) => format!(r#"{{"uid":"{uid}","since":{since}}}"#),
            (Role::Since, None) => format!(r#"{{"uid":"{uid}"}}"#),
            (Role::Returning | Role::Fresh, _) => format!(r#""{uid}""#),
        }
    }

    fn is_for(&self, target: For) -> bool {
        match target {
            For::Everyone => true,
            For::Half(half) => self.index % 2 == half,
        }
    }

    /// Holds a message to what has to come next.
    fn hears(&mut self, content: &str, id: Option<u64>, race: &Race) {
        let mut words = content.split('.');
        let mut number = || words.next()?.parse::<usize>().ok();
        let (publisher, number) = number().zip(number()).expect("two numbers");
        self.ends += usize::from(words.next() == Some("end"));
        let sent = race.lock(publisher);
        assert!(self.is_for(sent[number]), "{content} came to {self:?}");
        let (first, certain) = self.window[publisher];
        let from = match self.last[publisher] {
            Some(last) => last + 1,
            None => certain.min(number),
        };
        assert!(number >= from, "{content} again to {self:?}");
        assert!(
            self.last[publisher].is_some() || number >= first,
            "{content} is too old for {self:?}"
        );
        let missed = (from..number).find(|n| self.is_for(sent[*n]));
        assert_eq!(missed, None, "missed before {content} by {self:?}");
        self.last[publisher] = Some(number);
        assert_eq!(id.is_some(), role(self.index) == Role::Since);
        assert!(
            id >= self.id && (id.is_none() || id != self.id),
            "{content}: {id:?} after {self:?}"
        );
        self.id = id;
    }
}

fn role(index: usize) -> Role {
    [Role::Returning, Role::Since, Role::Fresh][index / 2 % 3]
}

fn uid(index: usize, batch: usize) -> String {
    match role(index) {
        Role::Returning => format!("returning-{index}"),
        Role::Since => format!("since-{index}"),
        Role::Fresh => format!("fresh-{index}-{batch}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_login_that_races_with_pushes_misses_one_or_gets_one_twice() {
    const ANY: &str = "127.0.0.1:0";
    let mut process = Process::start(ANY, ANY, &["presence.interval=1h"]).await;
    let (orders, queues): (Vec<_>, Vec<_>) =
        (0..PUBLISHERS).map(|_| mpsc::channel(10 * PAGES)).unzip();
    let race = Arc::new(Race {
        socketio: process.socketio,
        http: process.http,
        sequences: std::array::from_fn(|_| Sequence::default()),
        orders,
        raced: AtomicUsize::new(0),
    });
    for (publisher, orders) in queues.into_iter().enumerate() {
        tokio::spawn(Arc::clone(&race).publishes(publisher, orders));
    }
    let mut members: Vec<_> = (0..PAGES).map(Member::new).collect();
    let mut logins = 0;
    while race.raced.load(Ordering::SeqCst) < ROUNDS {
        members = race.runs(members).await;
        members = members.into_iter().map(Member::again).collect();
        logins += PAGES;
        assert!(logins < ROUNDS * 2, "too few logins race with a push");
    }
    assert_eq!(process.faults_till_the_end().await, [""; 0]);
}
