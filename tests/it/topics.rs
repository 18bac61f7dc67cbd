//! The topic websocket: which packet is for which page. The packets are in `udp`, Socket.IO's pages
//! in `subscribers`.

use std::net::SocketAddr;

use campanile::config::{Config, Matching};
use tokio::net::UdpSocket;

use crate::harness::raw::{BINARY, CONTINUATION, RawPage, frame, text};
use crate::harness::{FREE, Server};

/// A server, a backend that sends packets, and a page that shows what has been handled.
pub(crate) struct School {
    pub(crate) server: Server,
    pub(crate) backend: UdpSocket,
    watch: RawPage,
    marks: usize,
}

/// Of no other school.
const WATCH: &str = r#"{"school_id":"watch"}"#;

impl School {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let server = Server::start_with(|config| {
            config.topic_socket.listen = FREE;
            config.udp.listen = FREE;
            // Some change their mind faster than people can.
            config.limits.events_per_second = 0;
            change(config);
        });
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let backend = UdpSocket::bind(any).await.expect("there is a port");
        backend
            .connect(server.udp())
            .await
            .expect("it is an address");
        Self {
            watch: RawPage::saying(server.topic_socket(), WATCH).await,
            server,
            backend,
            marks: 0,
        }
    }

    /// A page that wants this.
    pub(crate) async fn page(&self, wanted: &str) -> RawPage {
        RawPage::saying(self.server.topic_socket(), wanted).await
    }

    pub(crate) async fn sends(&self, packet: impl AsRef<[u8]>) {
        let packet = packet.as_ref();
        let sent = self.backend.send(packet).await;
        assert_eq!(sent.expect("the port is open"), packet.len());
    }

    /// Waits until every packet so far has been handled: they are taken in their order.
    pub(crate) async fn settles(&mut self) {
        self.settles_with("").await;
    }

    /// The same, with more members in the packet that shows it.
    pub(crate) async fn settles_with(&mut self, members: &str) {
        self.marks += 1;
        let mark = format!(r#"{{"school_id":"watch","mark":{}"#, self.marks);
        self.sends(format!("{mark}{members}}}")).await;
        let seen = self.watch.next_message().await;
        assert!(seen.starts_with(&mark), "{seen}");
    }

    /// The same, once the page that shows it has got this.
    pub(crate) async fn settles_after(&mut self, message: &str) {
        self.watch.receives(message).await;
        self.settles().await;
    }

    /// Whether a page gets this packet, once and as it was sent.
    async fn reaches(&mut self, page: &mut RawPage, packet: &str) -> bool {
        self.sends(packet).await;
        self.settles().await;
        assert!(page.is_heard().await);
        self.server.push_to_everyone("the marker").await;
        self.watch.receives("the marker").await;
        let next = page.next_message().await;
        if next == "the marker" {
            return false;
        }
        assert_eq!(next, packet);
        page.receives("the marker").await;
        page.has_nothing().await;
        true
    }
}

/// A wish and a packet a line; `+` where the packet is for who wished so. `S` and `C` stand for
/// the two keys.
const SHARED: &str = r#"
+ {S:"2",C:"1"} <- {S:"2",C:"1"}
+ {S:"2",C:"1"} <- {C:"1",S:"2"}
+ {S:"2",C:"1"} <- {S:"2"}
+ {S:"2",C:"1"} <- {C:"1"}
- {S:"2",C:"1"} <- {S:"2",C:"9"}
- {S:"2",C:"1"} <- {S:"3",C:"1"}
- {S:"2",C:"1"} <- {S:"1",C:"2"}
+ {S:"2"} <- {S:"2",C:"1"}
+ {S:"2"} <- {S:"2",C:"9","type":"x"}
- {S:"2"} <- {S:"22"}
- {S:"2"} <- {C:"2"}
- {S:"2"} <- {"SCHOOL_ID":"2"}
- {S:"2"} <- {"x":{S:"2"}}
- {S:"2"} <- {S:["2"]}
- {S:"2"} <- {}
+ {S:2} <- {S:"2"}
+ {S:"2"} <- {S:2}
+ {S:2} <- {S:2}
+ {S:9223372036854775807} <- {S:"9223372036854775807"}
- {S:"02"} <- {S:2}
- {S:"2.0"} <- {S:2}
+ {S:"é"} <- {S:"\u00e9"}
+ {"school_\u0069d":"2"} <- {S:"2"}
+ {S:"1",S:"2"} <- {S:"2"}
- {S:"2"} <- {S:"2",S:"3"}
- {"type":"x",S:"2"} <- {"type":"x"}
+ {"type":"x",S:"2"} <- {"type":"y",S:"2"}
+ {S:"2"} <- {S:"2","x":1.0e1,"t":"<b>\u00e9é\/"}
"#;

/// The same, of any keys.
const EXACT: &str = r#"
+ {"a":1,"b":"2"} <- {"b":2,"a":"1"}
+ {"a":1,"b":"2"} <- {"c":3,"b":2,"a":"1","d":[]}
+ {"a":1} <- {"a":1,"b":3}
- {"a":1,"b":"2"} <- {"a":1}
- {"a":1,"b":"2"} <- {"a":1,"b":3}
- {"a":1} <- {"b":1}
- {"a":1} <- {"a":[1]}
"#;

impl School {
    async fn follows(&mut self, table: &str) {
        let table = table.replace('S', r#""school_id""#);
        let table = table.replace('C', r#""school_class_id""#);
        for line in table.lines().filter(|line| !line.is_empty()) {
            let (sign, rest) = line.split_at(2);
            let (wanted, packet) = rest.split_once(" <- ").expect("a line has both");
            let mut page = self.page(wanted).await;
            let got = self.reaches(&mut page, packet).await;
            assert_eq!(got, sign == "+ ", "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_is_for_pages_with_a_key_in_common_and_none_that_differs() {
    School::new().await.follows(SHARED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_matching_wants_every_member_whatever_its_name() {
    let mut school = School::with(|config| config.topics.matching = Matching::Exact).await;
    school.follows(EXACT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_are_delivered_as_they_were_sent() {
    let mut school = School::new().await;
    let mut page = school.page(" { \"school_id\" : \"2\" }\n").await;
    for packet in [
        "{\"school_id\":\"2\"}\n",
        "\t {\"school_id\" : 2 } \r\n",
        r#"{"school_id":"2","x":1.0e1,"t":"<b>\u00e9é\/","x":[ ]}"#,
    ] {
        assert!(school.reaches(&mut page, packet).await, "{packet:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_replaces_the_one_before_and_what_is_none_leaves_it() {
    let mut school = School::new().await;
    let (one, two) = (r#"{"school_id":"1"}"#, r#"{"school_id":"2"}"#);
    let mut page = school.page(one).await;
    page.says(two).await;
    assert!(page.is_heard().await);
    assert!(!school.reaches(&mut page, one).await);
    assert!(school.reaches(&mut page, two).await);
    let members = |n: usize| {
        let others: String = (1..n).map(|n| format!(r#","m{n}":{n}"#)).collect();
        format!(r#"{{"school_id":"1"{others}}}"#)
    };
    let long = |length: usize| {
        let empty = r#"{"school_id":"1","x":""}"#;
        empty.replace("\"\"", &format!("\"{}\"", "x".repeat(length - empty.len())))
    };
    for none in [
        "",
        "junk",
        "null",
        "5",
        "\"x\"",
        "[]",
        r#"[{"school_id":"1"}]"#,
        r#"{"school_id":"1""#,
        r#"{"school_id":"1"}{}"#,
        r#"{"school_id":["1"]}"#,
        r#"{"school_id":"1","x":{}}"#,
        r#"{"school_id":"1","x":[1]}"#,
        &members(17),
        &long(4097),
        &long(100_000),
    ] {
        page.says(none).await;
        assert!(page.is_heard().await, "{none:.40}");
        assert!(school.reaches(&mut page, two).await, "{none:.40}");
        assert!(!school.reaches(&mut page, one).await, "{none:.40}");
    }
    page.sends_frames([frame(BINARY, b"{\"school_id\":\"1\",\"x\":\"\xff\"}")])
        .await;
    assert!(page.is_heard().await);
    assert!(!school.reaches(&mut page, one).await);
    // Just within the limits; binary, and in fragments.
    for good in [members(16), long(4096)] {
        page.says(two).await;
        page.says(&good).await;
        assert!(page.is_heard().await);
        assert!(school.reaches(&mut page, one).await, "{good:.40}");
    }
    page.sends_frames([frame(BINARY, two)]).await;
    assert!(page.is_heard().await);
    assert!(school.reaches(&mut page, two).await);
    let (start, end) = one.split_at(5);
    page.sends_frames([text(start).unfinished(), frame(CONTINUATION, end)])
        .await;
    assert!(page.is_heard().await);
    assert!(school.reaches(&mut page, one).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_object_wants_nothing_and_pages_without_a_wish_get_nothing() {
    let mut school = School::new().await;
    let packet = r#"{"school_id":"1"}"#;
    let mut page = RawPage::open(school.server.topic_socket()).await;
    school.sends(packet).await;
    school.settles().await;
    school.server.push_to_everyone("all").await;
    school.watch.receives("all").await;
    page.has_nothing().await;
    for nothing in ["{}", r#"{"type":"x"}"#] {
        page.says(packet).await;
        assert!(page.is_heard().await);
        assert!(school.reaches(&mut page, packet).await);
        page.says(nothing).await;
        assert!(page.is_heard().await);
        school.sends(packet).await;
        school.settles().await;
        page.has_nothing().await;
    }
}
