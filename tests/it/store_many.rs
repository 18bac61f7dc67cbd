//! Many records in a store: more than SQLite fills in at once, so that some are found one way and
//! some another.

use campanile::record::{Conversation, Draft, RecordId};
use campanile::store::{MessageStore, Retention};

use crate::harness::postgres::Postgres;
use crate::harness::records::{END, append, between, draft, group, group_named, open, prune, user};

/// Enough to be filled in twice, with some left over.
const RECORDS: usize = 5_300;

/// Users, who all write to each other, to the group, and to two at once.
const USERS: usize = 7;

/// Records asked for at a time.
const PIECE: u32 = 250;

#[tokio::test]
async fn many_records_in_a_sqlite_file_are_found_by_whom_they_are_for() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    many_records_are_found(&url).await;
}

#[tokio::test]
async fn many_records_in_a_postgres_database_are_found_by_whom_they_are_for() {
    let postgres = Postgres::start().await;
    many_records_are_found(&postgres.url()).await;
}

/// Record `number`, from 1.
fn nth(number: usize) -> Draft {
    let sender = name(number);
    let to = match number % 3 {
        0 => vec![group("all")],
        1 => vec![user(&name(number / 3))],
        _ => vec![user(&name(number / 3)), user(&name(number / 3 + 1))],
    };
    draft(&sender, to, &number.to_string())
}

fn name(number: usize) -> String {
    format!("user {}", number % USERS)
}

async fn many_records_are_found(url: &str) {
    let store = open(url).await;
    let drafts: Vec<Draft> = (1..=RECORDS).map(nth).collect();
    for (n, batch) in drafts.chunks(97).enumerate() {
        assert_eq!(append(&*store, batch).await, n as u64 * 97 + 1);
    }
    all_are_found(&*store, &drafts, 1).await;
    // Some of those that go are filled in, and the last are not.
    for kept in [4_000, 1_000, 10] {
        let retention = Retention {
            max_age: None,
            max_records: Some(kept),
        };
        while prune(&*store, retention, 1_000, 300).await == 300 {}
        all_are_found(&*store, &drafts, RECORDS + 1 - kept as usize).await;
    }
    let more: Vec<Draft> = (RECORDS + 1..=2 * RECORDS).map(nth).collect();
    append(&*store, &more).await;
    let all = [drafts, more].concat();
    all_are_found(&*store, &all, RECORDS - 9).await;
    store.close().await;
    all_are_found(&*open(url).await, &all, RECORDS - 9).await;
}

/// What is asked for is exactly what it should be, given that the records from `first` on are kept.
async fn all_are_found(store: &dyn MessageStore, drafts: &[Draft], first: usize) {
    let kept = &drafts[first - 1..];
    let users = (0..USERS).map(|n| user(&name(n)));
    for addressee in users.chain([group("all")]) {
        let for_it = kept.iter().filter(|d| d.addressees.contains(&addressee));
        let expected: Vec<&str> = for_it.map(|d| &*d.body).collect();
        let (mut found, mut since) = (Vec::new(), RecordId(0));
        loop {
            let piece = store.after(&addressee, since, END, PIECE).await;
            let piece = piece.expect("the store answers");
            let Some(last) = piece.last() else { break };
            since = last.id;
            found.extend(piece.into_iter().map(|record| record.body));
        }
        assert_eq!(found, expected, "{addressee:?} from {first}");
    }
    for (one, other) in [(0, 1), (3, 3), (5, 2)] {
        let (one, other) = (name(one), name(other));
        let said = |d: &&Draft| {
            let from = d.sender.as_ref().map(campanile::uid::Uid::as_str);
            let is =
                |from_is: &str, to: &str| from == Some(from_is) && d.addressees.contains(&user(to));
            is(&one, &other) || is(&other, &one)
        };
        let expected = kept.iter().rev().filter(said).map(|d| &*d.body);
        let expected: Vec<&str> = expected.collect();
        assert_eq!(whole(store, &between(&one, &other)).await, expected);
    }
    let to_all = kept
        .iter()
        .rev()
        .filter(|d| d.addressees.contains(&group("all")));
    let expected: Vec<&str> = to_all.map(|d| &*d.body).collect();
    let all = Conversation::Group(group_named("all"));
    assert_eq!(whole(store, &all).await, expected);
}

/// A conversation, the newest first, asked for piece by piece.
async fn whole(store: &dyn MessageStore, of: &Conversation) -> Vec<String> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let piece = store.history(of, before, PIECE).await;
        let piece = piece.expect("the store answers");
        let Some(last) = piece.last() else {
            return found;
        };
        before = Some(last.id);
        found.extend(piece.into_iter().map(|record| record.body));
    }
}

/// What many are told at once is many rows; they are filled in, and removed, some at a time.
#[tokio::test]
async fn what_is_for_a_thousand_users_at_once_is_found_and_removed() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let store = open(&url).await;
    let everybody: Vec<_> = (0..1000).map(|n| user(&format!("user {n}"))).collect();
    for number in 1..=60 {
        let told = draft("sender", everybody.clone(), &number.to_string());
        assert_eq!(append(&*store, &[told]).await, number);
    }
    let numbers: Vec<String> = (1..=60).map(|number| number.to_string()).collect();
    for name in ["user 0", "user 500", "user 999"] {
        let found = store.after(&user(name), RecordId(0), END, 100).await;
        let found = found.expect("the store answers").into_iter();
        let found: Vec<String> = found.map(|record| record.body).collect();
        assert_eq!(found, numbers, "{name}");
    }
    let retention = Retention {
        max_age: None,
        max_records: Some(5),
    };
    let (mut removed, mut steps) = (0, 0);
    loop {
        match prune(&*store, retention, 1_000, 1_000).await {
            0 => break,
            some => (removed, steps) = (removed + some, steps + 1),
        }
    }
    assert_eq!(removed, 55);
    assert!(steps > 2, "{steps}: no step may take long");
    let left = whole(&*store, &between("sender", "user 7")).await;
    assert_eq!(left, ["60", "59", "58", "57", "56"]);
}
