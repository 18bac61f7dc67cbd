//! Pages that subscribe to topics: those of Socket.IO too, those that change their mind, and those
//! that leave.

use crate::harness::page::{DIALECTS, Dialect, EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::raw::{Frame, text};
use crate::topics::School;

const ONE: &str = r#"{"school_id":"1"}"#;
const TWO: &str = r#"{"school_id":"2"}"#;
const CLASS: &str = r#"{"school_id":"2","school_class_id":"1"}"#;

/// A page of Socket.IO that has not logged in, and wants this.
pub(crate) async fn subscriber(school: &School, dialect: Dialect, wanted: &str) -> Page {
    let mut page = school.server.connect_by(dialect).await;
    subscribes(&mut page, wanted).await;
    page
}

async fn subscribes(page: &mut Page, wanted: &str) {
    page.sends(&format!(r#"42["subscribe",{wanted}]"#)).await;
    assert!(page.is_heard().await, "{wanted} ended the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn socketio_pages_subscribe_by_an_event_and_get_packets_as_messages() {
    let mut school = School::new().await;
    let mut raw = school.page(CLASS).await;
    let mut pages = Vec::new();
    for dialect in DIALECTS {
        pages.push(subscriber(&school, dialect, CLASS).await);
    }
    let mut other = subscriber(&school, EIO4_WEBSOCKET, ONE).await;
    let mut none = school.server.login("none").await;
    let packet = r#"{"school_class_id":1,"school_id":2,"t":"<é>"}"#;
    school.sends(packet).await;
    raw.receives(packet).await;
    for page in &mut pages {
        page.receives(packet).await;
    }
    school.settles().await;
    for page in &mut pages {
        school.server.nothing_else_comes_to([page]).await;
        school.settles_after("the marker").await;
        other.receives("the marker").await;
        none.receives("the marker").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_socketio_too_a_subscription_is_replaced_and_what_is_none_leaves_it() {
    let mut school = School::new().await;
    for dialect in DIALECTS {
        let mut page = subscriber(&school, dialect, ONE).await;
        subscribes(&mut page, TWO).await;
        for none in [
            "null",
            "5",
            "\"x\"",
            "[]",
            r#""{\"school_id\":\"1\"}""#,
            r#"{"school_id":["1"]}"#,
            r#"{"school_id":"1","x":{}}"#,
            // As before: it is one all the same, and changes nothing.
            TWO,
            r#"{"school_id":2,"type":"x"}"#,
        ] {
            subscribes(&mut page, none).await;
            school.sends(ONE).await;
            school.sends(TWO).await;
            assert_eq!(page.next_message().await, TWO, "{none}");
        }
        page.sends(r#"42["subscribe"]"#).await;
        subscribes(&mut page, TWO).await;
        // A page may log in besides; who it is and what it wants are two things.
        page.logs_in("alice").await;
        assert_eq!(school.server.push("alice", "hi").await, "ok");
        page.receives("hi").await;
        school.sends(TWO).await;
        page.receives(TWO).await;
        subscribes(&mut page, "{}").await;
        school.sends(TWO).await;
        school.settles().await;
        school.server.nothing_else_comes_to([&mut page]).await;
        school.settles_after("the marker").await;
    }
}

/// It gets each packet that its wishes before and after have in common exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_changes_its_subscription_amid_packets_gets_each_once() {
    const PACKETS: usize = 40;
    let school = School::new().await;
    let mut page = school.page(TWO).await;
    let changes: Vec<u8> = [CLASS, TWO]
        .map(text)
        .iter()
        .flat_map(Frame::bytes)
        .collect();
    for round in 0..200 {
        let packet = |n: usize| CLASS.replace('}', &format!(r#","n":"{round} {n}"}}"#));
        page.sends(changes.repeat(10 * PACKETS)).await;
        for n in 0..PACKETS {
            school.sends(packet(n)).await;
        }
        for n in 0..PACKETS {
            page.receives(&packet(n)).await;
        }
    }
    page.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socketio_page_that_changes_its_subscription_amid_packets_gets_each_once() {
    const PACKETS: usize = 40;
    let school = School::new().await;
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let mut page = subscriber(&school, dialect, TWO).await;
        let changes = [CLASS, TWO].map(|wanted| format!(r#"42["subscribe",{wanted}]"#));
        let changes = [&*changes[0], &*changes[1]].repeat(2 * PACKETS);
        for round in 0..200 {
            let packet = |n: usize| CLASS.replace('}', &format!(r#","n":"{round} {n}"}}"#));
            page.sends_together(&changes).await;
            for n in 0..PACKETS {
                school.sends(packet(n)).await;
            }
            for n in 0..PACKETS {
                page.receives(&packet(n)).await;
            }
        }
        school.server.nothing_else_comes_to([&mut page]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_its_own_subscription_along_and_no_other() {
    let mut school = School::new().await;
    for round in 0..10 {
        let leaving = [school.page(CLASS).await, school.page(CLASS).await];
        let mut raw = school.page(CLASS).await;
        let mut gone = Vec::new();
        for dialect in DIALECTS {
            gone.push(subscriber(&school, dialect, CLASS).await);
        }
        let mut socketio = subscriber(&school, EIO4_WEBSOCKET, CLASS).await;
        let [left, reset] = leaving;
        left.leaves().await;
        reset.resets();
        for page in gone {
            page.leaves().await;
        }
        let packet = CLASS.replace('}', &format!(r#","n":{round}}}"#));
        school.sends(&packet).await;
        raw.receives(&packet).await;
        socketio.receives(&packet).await;
        school.settles().await;
        raw.has_nothing().await;
        school.server.nothing_else_comes_to([&mut socketio]).await;
        school.settles_after("the marker").await;
        raw.receives("the marker").await;
    }
}
