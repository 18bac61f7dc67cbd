//! The store: one story for every database, told to all in the same words.

use std::sync::Arc;
use std::time::Duration;

use campanile::group::Group;
use campanile::record::{Conversation, Draft, Record, RecordId};
use campanile::store::{MessageStore, Retention, StoreError};
use campanile::uid::Uid;
use sqlx::{Connection as _, SqliteConnection};

use crate::harness::postgres::Postgres;
use crate::harness::records::{
    END, all_for, append, between, bodies, draft, group, group_named, history, newest, open, prune,
    uid, user,
};
use crate::harness::within;

const NO_RECORDS: Retention = Retention {
    max_age: None,
    max_records: Some(0),
};

/// Counts what pruning might leave behind.
const ADDRESSEES: &str = "SELECT count(*) FROM addressees";

#[tokio::test]
async fn a_sqlite_file_keeps_what_it_is_given() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    tell_the_story(&url).await;
    let mut file = SqliteConnection::connect(&url).await.expect("it is there");
    let left = sqlx::query_scalar(ADDRESSEES).fetch_one(&mut file).await;
    assert_eq!(left.ok(), Some(0));
}

#[tokio::test]
async fn a_postgres_database_keeps_what_it_is_given() {
    let server = Postgres::start().await;
    tell_the_story(&server.url()).await;
    let mut connection = server.connect().await;
    let left = sqlx::query_scalar(ADDRESSEES).fetch_one(&mut connection);
    assert_eq!(left.await.ok(), Some(0_i64));
}

/// What every store does, from an empty one on, to one that is empty again.
async fn tell_the_story(url: &str) {
    let stores = many_open_it_at_once(url).await;
    an_empty_store_has_nothing(&*stores[0]).await;
    numbers_grow_across_servers(&stores).await;
    for other in &stores[1..] {
        other.close().await;
    }
    let store = &stores[0];
    conversations_have_two_sides(&**store).await;
    a_message_for_many_is_kept_once(&**store).await;
    a_page_follows_a_page(&**store).await;
    names_are_any_text(&**store).await;
    messages_are_any_text(&**store).await;
    batches_of_any_size_keep_their_order(&**store).await;
    calls_at_once_get_numbers_of_their_own(store).await;
    cursors_never_go_back(&**store).await;
    let newest = newest(&**store).await;
    store.close().await;
    a_closed_store_fails(&**store).await;

    let store = open(url).await;
    reopening_changes_nothing(&*store, newest).await;
    all_go_in_small_steps(&*store, newest).await;
    the_old_go_first(&*store).await;
    the_many_go_first(&*store).await;
    no_number_is_used_twice(&*store, url).await;
}

async fn many_open_it_at_once(url: &str) -> Vec<Arc<dyn MessageStore>> {
    let opening = (0..6).map(|_| {
        let url = url.to_owned();
        tokio::spawn(async move { open(&url).await })
    });
    let opening: Vec<_> = opening.collect();
    let mut stores = Vec::new();
    for opened in opening {
        stores.push(opened.await.expect("every one of them opens it"));
    }
    stores
}

async fn an_empty_store_has_nothing(store: &dyn MessageStore) {
    assert_eq!(newest(store).await, 0);
    assert_eq!(append(store, &[]).await, 1);
    assert_eq!(newest(store).await, 0);
    assert_eq!(history(store, &between("ann", "bob")).await, [""; 0]);
    assert_eq!(all_for(store, &user("ann")).await, [""; 0]);
    assert_eq!(store.cursor(&uid("ann")).await.expect("it answers"), None);
    assert_eq!(prune(store, NO_RECORDS, 0, 10).await, 0);
}

async fn numbers_grow_across_servers(stores: &[Arc<dyn MessageStore>]) {
    for (store, id) in stores.iter().zip(1..) {
        let first = append(&**store, &[draft("ann", [user("opener")], "hi")]).await;
        assert_eq!(first, id);
        assert_eq!(newest(&*stores[0]).await, id);
    }
}

async fn conversations_have_two_sides(store: &dyn MessageStore) {
    let backend = Draft {
        sender: None,
        ..draft("nobody", [user("bob")], "from the backend")
    };
    let first = append(
        store,
        &[
            draft("ann", [user("bob")], "ann to bob"),
            draft("bob", [user("ann")], "bob to ann"),
            backend,
            draft("ann", [user("ann")], "ann to herself"),
            draft("ann", [group("bob")], "ann to a group"),
            draft("cid", [user("bob")], "cid to bob"),
        ],
    )
    .await;
    let both = ["bob to ann", "ann to bob"];
    assert_eq!(history(store, &between("ann", "bob")).await, both);
    assert_eq!(history(store, &between("bob", "ann")).await, both);
    let herself = history(store, &between("ann", "ann")).await;
    assert_eq!(herself, ["ann to herself"]);
    let of_group = history(store, &Conversation::Group(group_named("bob"))).await;
    assert_eq!(of_group, ["ann to a group"]);
    let for_bob = ["ann to bob", "from the backend", "cid to bob"];
    assert_eq!(all_for(store, &user("bob")).await, for_bob);
    let for_group = all_for(store, &group("bob")).await;
    assert_eq!(for_group, ["ann to a group"]);

    let found = store.after(&user("bob"), RecordId(first - 1), END, 2).await;
    let found = found.expect("it answers").into_iter();
    let found: Vec<_> = found.map(|record| (record.id.0, record.sender)).collect();
    assert_eq!(found, [(first, Some(uid("ann"))), (first + 2, None)]);
}

async fn a_message_for_many_is_kept_once(store: &dyn MessageStore) {
    let many = [user("dan"), user("eve"), group("eve"), user("fay")];
    append(store, &[draft("eve", many.clone(), "to many")]).await;
    for addressee in &many {
        assert_eq!(all_for(store, addressee).await, ["to many"]);
    }
    for (one, other) in [("eve", "dan"), ("fay", "eve"), ("eve", "eve")] {
        assert_eq!(history(store, &between(one, other)).await, ["to many"]);
    }
    assert_eq!(history(store, &between("dan", "fay")).await, [""; 0]);
}

async fn a_page_follows_a_page(store: &dyn MessageStore) {
    let numbers: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let ways = [("gus", "hal"), ("hal", "gus")];
    let drafts = numbers.iter().zip(ways.into_iter().cycle());
    let drafts = drafts.map(|(number, (from, to))| draft(from, [user(to), group("g")], number));
    let first = append(store, &drafts.collect::<Vec<_>>()).await;

    for of in [between("gus", "hal"), Conversation::Group(group_named("g"))] {
        for start in [None, Some(END), Some(RecordId(first + 10))] {
            let (mut before, mut pages) = (start, Vec::new());
            for _ in 0..4 {
                let page = store.history(&of, before, 4).await.expect("it answers");
                let Some(last) = page.last() else { break };
                before = Some(last.id);
                pages.push(bodies(page));
            }
            let expected = [vec!["9", "8", "7", "6"], vec!["5", "4", "3", "2"]];
            assert_eq!(pages[..2], expected);
            assert_eq!(pages[2..], [["1", "0"]]);
        }
    }
    let after = async |since, until, limit| {
        let (since, until) = (RecordId(since), RecordId(until));
        let found = store.after(&group("g"), since, until, limit).await;
        bodies(found.expect("it answers"))
    };
    assert_eq!(after(first, first + 3, 9).await, ["1", "2", "3"]);
    assert_eq!(after(first + 3, first + 9, 2).await, ["4", "5"]);
    assert_eq!(after(first + 8, u64::MAX, 9).await, ["9"]);
    assert_eq!(after(first + 9, first, 9).await, [""; 0]);
    assert_eq!(after(0, u64::MAX, 0).await, [""; 0]);
}

async fn names_are_any_text(store: &dyn MessageStore) {
    let long = "x".repeat(Group::MAX_LEN);
    let odd = [
        "\0",
        "nul\0nul",
        "nul",
        "名字",
        "é",
        "e\u{301}",
        "'\"--%_\\",
    ];
    let similar = ["0", "00", " 0", "Case", "case", &long];
    for name in odd.into_iter().chain(similar) {
        let to = [user(name), group(name)];
        let id = append(store, &[draft(name, to.clone(), name)]).await;
        assert_eq!(all_for(store, &to[0]).await, [name]);
        assert_eq!(all_for(store, &to[1]).await, [name]);
        let found = store.history(&between(name, name), None, 9).await;
        let found = found.expect("it answers");
        assert_eq!(found[0].sender, Some(uid(name)));
        assert_eq!(found.len(), 1);
        let moved = store.move_cursors(&[(uid(name), RecordId(id))]).await;
        moved.expect("it answers");
        let cursor = store.cursor(&uid(name)).await;
        assert_eq!(cursor.expect("it answers"), Some(RecordId(id)));
    }
    let longest = "y".repeat(Uid::MAX_LEN);
    append(store, &[draft(&longest, [user(&longest)], "long")]).await;
    let found = history(store, &between(&longest, &longest)).await;
    assert_eq!(found, ["long"]);
}

async fn messages_are_any_text(store: &dyn MessageStore) {
    let large = "é\u{1F514}".repeat(100_000);
    let texts = ["", r#"{"nul":"\u0000"}"#, "\0", "\r\n\t'\"\\", "🔔", &large];
    let drafts = texts.map(|text| draft("ivy", [user("any text")], text));
    append(store, &drafts).await;
    assert_eq!(all_for(store, &user("any text")).await, texts);
}

async fn batches_of_any_size_keep_their_order(store: &dyn MessageStore) {
    let mut newest = newest(store).await;
    for size in [1, 2, 5, 31, 33, 64, 255, 257, 700] {
        let drafts = (0..size).map(|number| {
            let body = format!("{number} of {size}");
            // Not every message has as many addressees as the next.
            let others = (0..number % 3).map(|other| user(&format!("other {other}")));
            let to: Vec<_> = others.chain([group("batch")]).collect();
            Draft {
                at: number,
                ..draft(&format!("sender {number}"), to, &body)
            }
        });
        let drafts: Vec<_> = drafts.collect();
        assert_eq!(append(store, &drafts).await, newest + 1);
        let since = RecordId(newest);
        let found = store.after(&group("batch"), since, END, 1_000).await;
        let found = found.expect("it answers");
        let expected = drafts
            .into_iter()
            .zip(newest + 1..)
            .map(|(draft, id)| Record {
                id: RecordId(id),
                at: draft.at,
                sender: draft.sender,
                body: draft.body.to_string(),
            });
        assert_eq!(found, expected.collect::<Vec<_>>());
        newest += size;
    }
}

async fn calls_at_once_get_numbers_of_their_own(store: &Arc<dyn MessageStore>) {
    let before = newest(&**store).await;
    let calls = (0..20).map(|call| {
        let store = Arc::clone(store);
        let name = format!("call {call}");
        let drafts = [(); 3].map(|()| draft("jim", [user(&name)], &name));
        tokio::spawn(async move {
            let first = append(&*store, &drafts).await;
            let found = store.after(&user(&name), RecordId(0), END, 9).await;
            let ids = found.expect("it answers").into_iter().map(|r| r.id.0);
            assert_eq!(ids.collect::<Vec<_>>(), [first, first + 1, first + 2]);
            first
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut firsts = Vec::new();
    for call in calls {
        firsts.push(call.await.expect("every call is answered"));
    }
    firsts.sort_unstable();
    let expected: Vec<_> = (0..20).map(|call| before + 1 + 3 * call).collect();
    assert_eq!(firsts, expected);
}

async fn cursors_never_go_back(store: &dyn MessageStore) {
    let cursor = async |of: &str| store.cursor(&uid(of)).await.expect("it answers");
    let moved = async |cursors: &[(&str, u64)]| {
        let cursors = cursors.iter().map(|(of, to)| (uid(of), RecordId(*to)));
        let cursors: Vec<_> = cursors.collect();
        store.move_cursors(&cursors).await.expect("it answers");
    };
    moved(&[]).await;
    moved(&[("kim", 5), ("lea", 0)]).await;
    assert_eq!(cursor("kim").await, Some(RecordId(5)));
    assert_eq!(cursor("lea").await, Some(RecordId(0)));
    moved(&[("lea", 7), ("kim", 4)]).await;
    assert_eq!(cursor("kim").await, Some(RecordId(5)));
    assert_eq!(cursor("lea").await, Some(RecordId(7)));

    let many: Vec<_> = (0..300).map(|number| format!("many {number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).zip(1..).collect();
    moved(&many).await;
    for (of, to) in many {
        assert_eq!(cursor(of).await, Some(RecordId(to)));
    }
}

async fn a_closed_store_fails(store: &dyn MessageStore) {
    let drafts = [draft("ann", [user("bob")], "too late")];
    let (zero, bob) = (RecordId(0), user("bob"));
    let cursors = [(uid("kim"), END)];
    let answers = [
        store.append(&drafts).await.map(drop),
        store
            .history(&between("ann", "bob"), None, 1)
            .await
            .map(drop),
        store.after(&bob, zero, END, 1).await.map(drop),
        store.newest().await.map(drop),
        store.cursor(&uid("kim")).await.map(drop),
        store.move_cursors(&cursors).await,
        store.prune(NO_RECORDS, 0, 1).await.map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(StoreError::Failed(_))), "{answer:?}");
    }
    within("a second close", store.close()).await;
}

async fn reopening_changes_nothing(store: &dyn MessageStore, before: u64) {
    assert_eq!(newest(store).await, before);
    let both = ["bob to ann", "ann to bob"];
    assert_eq!(history(store, &between("ann", "bob")).await, both);
    let cursor = store.cursor(&uid("kim")).await;
    assert_eq!(cursor.expect("it answers"), Some(RecordId(5)));
}

async fn all_go_in_small_steps(store: &dyn MessageStore, all: u64) {
    let keeps_all = Retention {
        max_age: Some(Duration::from_millis(1_000)),
        max_records: Some(all),
    };
    assert_eq!(prune(store, keeps_all, 1_000, 10).await, 0);
    assert_eq!(prune(store, NO_RECORDS, 0, 3).await, 3);
    assert_eq!(prune(store, NO_RECORDS, 0, 0).await, 0);
    let (step, mut removed) = (100, 3);
    loop {
        let now = prune(store, NO_RECORDS, 0, step).await;
        removed += u64::from(now);
        if now < step {
            break;
        }
    }
    assert_eq!(removed, all);
    assert_eq!(newest(store).await, all);
    assert_eq!(all_for(store, &user("bob")).await, [""; 0]);
}

async fn the_old_go_first(store: &dyn MessageStore) {
    let drafts = [100_u64, 200, 300, 50, 400].map(|at| Draft {
        at,
        ..draft("ann", [user("old")], &at.to_string())
    });
    append(store, &drafts).await;
    let retention = Retention {
        max_age: Some(Duration::from_millis(250)),
        max_records: Some(1_000),
    };
    // As old as the bound is not too old; and one that is kept keeps those behind it.
    assert_eq!(prune(store, retention, 450, 10).await, 1);
    assert_eq!(prune(store, retention, 550, 10).await, 1);
    assert_eq!(prune(store, retention, 550, 10).await, 0);
    assert_eq!(all_for(store, &user("old")).await, ["300", "50", "400"]);
    let forever = Retention {
        max_age: Some(Duration::MAX),
        max_records: None,
    };
    assert_eq!(prune(store, forever, 550, 10).await, 0);
}

async fn the_many_go_first(store: &dyn MessageStore) {
    let drafts = ["a", "b", "c", "d"].map(|body| draft("ann", [group("many")], body));
    append(store, &drafts).await;
    let keeps = |most| Retention {
        max_age: None,
        max_records: Some(most),
    };
    assert_eq!(prune(store, keeps(7), 0, 10).await, 0);
    assert_eq!(prune(store, keeps(3), 0, 3).await, 3);
    assert_eq!(prune(store, keeps(3), 0, 3).await, 1);
    assert_eq!(all_for(store, &group("many")).await, ["b", "c", "d"]);
}

async fn no_number_is_used_twice(store: &dyn MessageStore, url: &str) {
    let last = newest(store).await;
    assert_eq!(prune(store, NO_RECORDS, 0, 10).await, 3);
    store.close().await;
    let store = open(url).await;
    let drafts = [draft("ann", [user("bob"), group("g")], "again")];
    assert_eq!(append(&*store, &drafts).await, last + 1);
    assert_eq!(prune(&*store, NO_RECORDS, 0, 10).await, 1);
    store.close().await;
}
