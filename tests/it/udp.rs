//! The UDP push port: packets arrive whole, in order and without an answer; junk is ignored, and a
//! secret is asked for where there is one.

use crate::harness::page::EIO4_WEBSOCKET;
use crate::raw_frames::Noise;
use crate::subscribers::subscriber;
use crate::topics::School;

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_packet_arrives_whole() {
    let mut school = School::new().await;
    let mut page = school.page(r#"{"school_id":"2"}"#).await;
    let two = r#"{"school_id":"2"}"#;
    let mut socketio = subscriber(&school, EIO4_WEBSOCKET, two).await;
    let empty = r#"{"school_id":"2","x":""}"#;
    let packet = empty.replace("\"\"", &format!("\"{}\"", "x".repeat(65_507 - empty.len())));
    assert_eq!(packet.len(), 65_507);
    school.sends(&packet).await;
    page.receives(&packet).await;
    socketio.receives(&packet).await;
    school.settles().await;
    page.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_arrive_in_their_order_and_are_never_answered() {
    let mut school = School::new().await;
    let mut page = school.page(r#"{"school_id":"2"}"#).await;
    let packet = |n: usize| format!(r#"{{"school_id":"2","n":{n}}}"#);
    // In bursts that the kernel has room for.
    for burst in 0..20 {
        for n in 0..25 {
            school.sends(packet(burst * 25 + n)).await;
        }
        for n in 0..25 {
            page.receives(&packet(burst * 25 + n)).await;
        }
    }
    for packet in ["junk", "{}", r#"{"school_id":"nobody"}"#, ""] {
        school.sends(packet).await;
    }
    school.settles().await;
    page.has_nothing().await;
    let mut answer = [0; 64];
    let answered = school.backend.try_recv(&mut answer);
    let kind = answered.expect_err("UDP is never answered").kind();
    assert_eq!(kind, std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_at_full_rate_is_ignored_and_honest_packets_arrive_afterwards() {
    let school = School::new().await;
    let mut page = school.page(r#"{"school_id":"2"}"#).await;
    let mut noise = Noise(3);
    let binary: Vec<u8> = (0..1000).map(|_| noise.next()).collect();
    let deep = format!(r#"{{"school_id":{}"#, "[".repeat(60_000));
    let junk: &[&[u8]] = &[
        b"",
        b"junk",
        b"[]",
        b"5",
        b"0",
        b"\"x\"",
        b"null",
        b"\n",
        b"{}{}",
        b"{\"school_id\":\"2\"",
        b"{\"school_id\":\"2\"}{\"school_id\":\"2\"}",
        b"[{\"school_id\":\"2\"}]",
        b"{\"school_id\":\"2\",\"x\":\"\xff\"}",
        b"\xef\xbb\xbf{\"school_id\":\"2\"}",
        &binary,
        deep.as_bytes(),
    ];
    for _ in 0..300 {
        for packet in junk {
            school.sends(packet).await;
        }
    }
    // The kernel drops what comes too fast, perhaps the first honest packets too.
    let mut tries = tokio::time::interval(std::time::Duration::from_millis(50));
    let honest = r#"{"school_id":"2","after":"the junk"}"#;
    let arrived = async {
        loop {
            tokio::select! {
                arrived = page.tcp.readable() => return arrived,
                _ = tries.tick() => school.sends(honest).await,
            }
        }
    };
    let arrived = crate::harness::within("an honest packet", arrived).await;
    arrived.expect("the page is still connected");
    page.receives(honest).await;
}

const SECRET: &str = r#"p"ss wörd"#;

#[tokio::test(flavor = "multi_thread")]
async fn where_a_secret_is_asked_for_it_has_to_be_right_and_pages_never_see_it() {
    let mut school = School::with(|config| config.udp.secret = SECRET.into()).await;
    let mut page = school.page(r#"{"school_id":"2"}"#).await;
    let shown = r#","secret":"p\"ss w\u00f6rd""#;
    for refused in [
        r#"{"school_id":"2"}"#,
        r#"{"school_id":"2","secret":""}"#,
        r#"{"school_id":"2","secret":"p"}"#,
        r#"{"school_id":"2","secret":"p\"ss wörd "}"#,
        r#"{"school_id":"2","secret":null}"#,
        r#"{"school_id":"2","secret":["p\"ss wörd"]}"#,
        r#"{"school_id":"2","Secret":"p\"ss wörd"}"#,
        r#"{"school_id":"2","x":{"secret":"p\"ss wörd"}}"#,
        r#"{"school_id":"2","secret":"p\"ss wörd","secret":"wrong"}"#,
    ] {
        school.sends(refused).await;
        school.settles_with(shown).await;
        page.has_nothing().await;
    }
    for (sent, delivered) in [
        (
            r#"{"secret":"p\"ss wörd","school_id":"2"}"#,
            r#"{"school_id":"2"}"#,
        ),
        (
            r#"{"school_id":"2","secret":"p\"ss wörd"}"#,
            r#"{"school_id":"2"}"#,
        ),
        (
            r#"{"a":1.0e1,"s\u0065cret":"p\"ss w\u00f6rd","school_id":2,"b":[ {"secret":1}, "\/\u00e9" ]}"#,
            r#"{"a":1.0e1,"school_id":2,"b":[ {"secret":1}, "\/\u00e9" ]}"#,
        ),
        (
            r#"{"secret":"wrong","school_id":"2","secret":"p\"ss wörd"}"#,
            r#"{"school_id":"2"}"#,
        ),
    ] {
        school.sends(sent).await;
        school.settles_with(shown).await;
        page.receives(delivered).await;
        page.has_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_secret_names_mean_what_they_meant() {
    let school = School::with(|config| config.udp.secret = "word".into()).await;
    let mut page = school.page(r#"{"school_id":"2"}"#).await;
    let others = r#""school_id":"2","caf\u00e9":1,"a\/b":2,"caf\u00c9":3"#;
    school
        .sends(format!(r#"{{"secret":"word",{others}}}"#))
        .await;
    page.receives(r#"{"school_id":"2","café":1,"a/b":2,"cafÉ":3}"#)
        .await;
}
