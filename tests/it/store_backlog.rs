//! The backlog and the state in a store: one story for every database, told to all in the same
//! words.

use campanile::push::PushId;
use campanile::store::{Held, Holder, MessageStore, Parcel, StoreError, Tally, Waiting};
use campanile::uid::Uid;

use crate::harness::parcels::{
    confirm, count, expire, holder, parcel, piece, put, tallies, tally, trim, users, waits,
};
use crate::harness::postgres::Postgres;
use crate::harness::records::{open, uid};

const EVERYTHING: Tally = Tally {
    messages: u64::MAX,
    bytes: u64::MAX,
};

#[tokio::test]
async fn a_sqlite_file_keeps_the_backlog() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    tell_the_story(&url).await;
}

#[tokio::test]
async fn a_postgres_database_keeps_the_backlog() {
    let server = Postgres::start().await;
    tell_the_story(&server.url()).await;
}

/// What every store does. Each chapter leaves an empty one to the next.
async fn tell_the_story(url: &str) {
    let store = open(url).await;
    an_empty_store_has_nothing(&*store).await;
    each_waits_until_its_user_has_it(&*store).await;
    nobody_is_remembered_for_nothing(&*store, url).await;
    what_is_for_everyone_waits_for_each(&*store).await;
    a_piece_follows_a_piece(&*store).await;
    the_oldest_are_trimmed(&*store).await;
    a_long_backlog_is_trimmed(&*store).await;
    the_expired_go(&*store).await;
    who_confirmed_what_is_gone_is_forgotten(&*store, url).await;
    all_names_and_texts_are_kept(&*store).await;
    a_state_is_taken_once(&*store).await;
    reopening_changes_nothing(&*store, url).await;
    assert_eq!(count(url, "parcels").await, 0);
    assert_eq!(count(url, "state").await, 0);
}

async fn an_empty_store_has_nothing(store: &dyn MessageStore) {
    assert_eq!(tallies(store).await, []);
    assert_eq!(waits(store, "ann").await, [""; 0]);
    assert_eq!(confirm(store, &[]).await, []);
    assert_eq!(confirm(store, &[("ann", 7)]).await, [tally(0, 0)]);
    for of in [Holder::Everyone, holder("ann")] {
        assert_eq!(trim(store, &of, tally(0, 0)).await, (0, tally(0, 0)));
    }
    assert_eq!(expire(store, u64::MAX, 10).await, []);
    put(store, &[]).await;
    put(store, &[parcel(1, users([]), "for nobody")]).await;
    assert_eq!(tallies(store).await, []);
    assert_eq!(taken(store).await, [[0; 0]; 0]);
}

async fn each_waits_until_its_user_has_it(store: &dyn MessageStore) {
    let parcels = [
        parcel(1, users(["bob", "ann"]), "to both"),
        parcel(2, users(["ann"]), "two"),
        parcel(3, users(["bob"]), "three"),
    ];
    put(store, &parcels[..2]).await;
    put(store, &parcels[2..]).await;
    let found = store.waiting(&uid("bob"), PushId(0), 0, 9).await;
    let held = |id, content: &str| Held {
        id: PushId(id),
        at: id,
        content: content.to_owned(),
    };
    let expected = [held(1, "to both"), held(3, "three")];
    assert_eq!(found.expect("it answers"), expected);
    assert_eq!(waits(store, "ann").await, ["to both", "two"]);
    let both = [(holder("ann"), tally(2, 10)), (holder("bob"), tally(2, 12))];
    assert_eq!(tallies(store).await, both);

    let left = confirm(store, &[("bob", 1), ("cid", 9), ("ann", 1)]).await;
    assert_eq!(left, [tally(1, 5), tally(0, 0), tally(1, 3)]);
    // Never back, and twice is as good as once.
    let left = confirm(store, &[("ann", 0), ("bob", 1)]).await;
    assert_eq!(left, [tally(1, 3), tally(1, 5)]);
    assert_eq!(waits(store, "ann").await, ["two"]);
    assert_eq!(waits(store, "bob").await, ["three"]);
    let left = confirm(store, &[("ann", 2), ("bob", u64::MAX)]).await;
    assert_eq!(left, [tally(0, 0); 2]);
    assert_eq!(waits(store, "bob").await, [""; 0]);
    assert_eq!(tallies(store).await, []);
}

async fn nobody_is_remembered_for_nothing(store: &dyn MessageStore, url: &str) {
    assert_eq!(count(url, "confirmed").await, 0);
    put(store, &[parcel(10, Waiting::Everyone, "ten")]).await;
    confirm(store, &[("ann", 9)]).await;
    assert_eq!(count(url, "confirmed").await, 0);
    confirm(store, &[("ann", 10)]).await;
    assert_eq!(count(url, "confirmed").await, 1);
    assert_eq!(trim(store, &Holder::Everyone, tally(0, 0)).await.0, 1);
}

async fn what_is_for_everyone_waits_for_each(store: &dyn MessageStore) {
    let parcels = [
        parcel(20, Waiting::Everyone, "20 for all"),
        parcel(21, users(["ann"]), "21 for ann"),
        parcel(22, Waiting::Everyone, "22 for all"),
    ];
    put(store, &parcels).await;
    let all = ["20 for all", "21 for ann", "22 for all"];
    assert_eq!(waits(store, "ann").await, all);
    assert_eq!(waits(store, "bob").await, [all[0], all[2]]);
    let waiting = [
        (Holder::Everyone, tally(2, 20)),
        (holder("ann"), tally(1, 10)),
    ];
    assert_eq!(tallies(store).await, waiting);

    assert_eq!(confirm(store, &[("ann", 20)]).await, [tally(1, 10)]);
    assert_eq!(waits(store, "ann").await, all[1..]);
    confirm(store, &[("ann", 21), ("bob", 19), ("cid", 20)]).await;
    for _ in 0..2 {
        assert_eq!(waits(store, "ann").await, [all[2]]);
        assert_eq!(waits(store, "bob").await, [all[0], all[2]]);
        assert_eq!(waits(store, "cid").await, [all[2]]);
        // It never goes back.
        confirm(store, &[("ann", 20)]).await;
    }
    confirm(store, &[("ann", 22), ("cid", 40)]).await;
    put(store, &[parcel(41, Waiting::Everyone, "41 for all")]).await;
    assert_eq!(waits(store, "ann").await, ["41 for all"]);
    assert_eq!(waits(store, "cid").await, ["41 for all"]);
    assert_eq!(trim(store, &Holder::Everyone, tally(0, 0)).await.0, 3);
    assert_eq!(waits(store, "bob").await, [""; 0]);
}

async fn a_piece_follows_a_piece(store: &dyn MessageStore) {
    let of = |id: u64| match id % 3 {
        0 => Waiting::Everyone,
        1 => users(["ann"]),
        _ => users(["bob", "ann"]),
    };
    let parcels = (100..130).map(|id| parcel(id, of(id), &id.to_string()));
    put(store, &parcels.collect::<Vec<_>>()).await;
    confirm(store, &[("ann", 103)]).await;
    for limit in [1, 4, 26, 30] {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let piece = piece(store, "ann", after, limit).await;
            assert!(piece.len() <= limit as usize, "{piece:?}");
            let Some((last, _)) = piece.last() else { break };
            after = *last;
            found.extend(piece);
        }
        let expected: Vec<_> = (104..130).map(|id| (id, id.to_string())).collect();
        assert_eq!(found, expected, "{limit} at a time");
    }
    assert_eq!(piece(store, "ann", u64::MAX, 9).await, []);
    assert_eq!(piece(store, "ann", 0, 0).await, []);
    let found = store.waiting(&uid("ann"), PushId(110), 120, 2).await;
    let found = found.expect("it answers").into_iter().map(|held| held.id.0);
    // The older ones are no longer there, whether or not they have been removed.
    assert_eq!(found.collect::<Vec<_>>(), [120, 121]);
    confirm(store, &[("ann", 129), ("bob", 129)]).await;
    trim(store, &Holder::Everyone, tally(0, 0)).await;
    assert_eq!(tallies(store).await, []);
}

async fn the_oldest_are_trimmed(store: &dyn MessageStore) {
    for (to, of) in [
        (users(["ann"]), holder("ann")),
        (Waiting::Everyone, Holder::Everyone),
    ] {
        let contents = ["a", "bb", "ccc", "dd", "e"];
        let parcels = (200..).zip(contents);
        let parcels = parcels.map(|(id, content)| parcel(id, to.clone(), content));
        put(store, &parcels.collect::<Vec<_>>()).await;
        // What else there is stays as it is.
        put(store, &[parcel(205, users(["bob"]), "bob's")]).await;
        let trimmed = async |keep| trim(store, &of, keep).await;
        assert_eq!(trimmed(EVERYTHING).await, (0, tally(5, 9)));
        assert_eq!(trimmed(tally(5, 9)).await, (0, tally(5, 9)));
        assert_eq!(trimmed(tally(4, 99)).await, (1, tally(4, 8)));
        assert_eq!(waits(store, "ann").await, contents[1..]);
        assert_eq!(trimmed(tally(4, 5)).await, (2, tally(2, 3)));
        assert_eq!(trimmed(tally(9, 3)).await, (0, tally(2, 3)));
        put(store, &[parcel(206, to.clone(), "long")]).await;
        assert_eq!(trimmed(tally(9, 1)).await, (2, tally(1, 4)));
        assert_eq!(waits(store, "ann").await, ["long"]);
        assert_eq!(trimmed(tally(0, 99)).await, (1, tally(0, 0)));
        assert_eq!(tallies(store).await, [(holder("bob"), tally(1, 5))]);
        confirm(store, &[("bob", 205)]).await;
    }
}

async fn a_long_backlog_is_trimmed(store: &dyn MessageStore) {
    let parcels = (300..400).map(|id| parcel(id, users(["ann", "bob"]), "12345"));
    put(store, &parcels.collect::<Vec<_>>()).await;
    let left = trim(store, &holder("ann"), tally(100, 99)).await;
    assert_eq!(left, (81, tally(19, 95)));
    let left = trim(store, &holder("bob"), tally(3, 1_000)).await;
    assert_eq!(left, (97, tally(3, 15)));
    assert_eq!(piece(store, "ann", 0, 1).await, [(381, "12345".to_owned())]);
    assert_eq!(waits(store, "bob").await.len(), 3);
    confirm(store, &[("ann", 399), ("bob", 399)]).await;
}

async fn the_expired_go(store: &dyn MessageStore) {
    let parcels = [
        parcel(400, users(["ann", "bob"]), "old"),
        parcel(401, Waiting::Everyone, "also old"),
        Parcel {
            at: 500,
            ..parcel(402, users(["ann"]), "young")
        },
        // The clock went back between the two.
        parcel(403, users(["ann"]), "old again"),
        parcel(500, Waiting::Everyone, "also young"),
    ];
    put(store, &parcels).await;
    assert_eq!(expire(store, 400, 10).await, []);
    assert_eq!(expire(store, 500, 0).await, []);
    let mut went = expire(store, 500, 3).await;
    assert_eq!(expire(store, 401, 3).await, []);
    went.extend(expire(store, 500, 3).await);
    let expected = [
        (Holder::Everyone, tally(1, 8)),
        (holder("ann"), tally(1, 3)),
        (holder("bob"), tally(1, 3)),
        (holder("ann"), tally(1, 9)),
    ];
    assert_eq!(went, expected);
    assert_eq!(expire(store, 500, 3).await, []);
    assert_eq!(waits(store, "ann").await, ["young", "also young"]);
    let young = [
        (Holder::Everyone, tally(1, 10)),
        (holder("ann"), tally(1, 5)),
    ];
    assert_eq!(expire(store, 501, 10).await, young);
    assert_eq!(tallies(store).await, []);
}

async fn who_confirmed_what_is_gone_is_forgotten(store: &dyn MessageStore, url: &str) {
    let parcels = [600, 601].map(|id| parcel(id, Waiting::Everyone, "for all"));
    put(store, &parcels).await;
    confirm(store, &[("ann", 600), ("bob", 601), ("cid", 600)]).await;
    // Those of earlier chapters go, but not those that spare somebody something.
    expire(store, 0, 100).await;
    assert_eq!(count(url, "confirmed").await, 3);
    expire(store, 601, 2).await;
    assert_eq!(count(url, "confirmed").await, 2);
    expire(store, 601, 1).await;
    assert_eq!(count(url, "confirmed").await, 1);
    expire(store, 601, 9).await;
    assert_eq!(waits(store, "ann").await, ["for all"]);
    assert_eq!(waits(store, "bob").await, [""; 0]);
    expire(store, 602, 9).await;
    assert_eq!(count(url, "confirmed").await, 0);
}

async fn all_names_and_texts_are_kept(store: &dyn MessageStore) {
    let long = "x".repeat(Uid::MAX_LEN);
    let names = [
        "\0",
        "nul\0nul",
        "nul",
        "名字",
        "é",
        "e\u{301}",
        "'\"--%_\\",
        &long,
    ];
    let large = "é\u{1F514}".repeat(100_000);
    let texts = ["", "\0", "\r\n\t'\"\\", "🔔", "0", "00", " 0", &large];
    let parcels = (700..).zip(names.iter().zip(texts));
    let parcels = parcels.map(|(id, (name, text))| parcel(id, users([*name]), text));
    put(store, &parcels.collect::<Vec<_>>()).await;
    let mut expected = Vec::new();
    for (name, text) in names.iter().zip(texts) {
        assert_eq!(waits(store, name).await, [text]);
        expected.push((holder(name), tally(1, text.len() as u64)));
    }
    expected.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(tallies(store).await, expected);
    for name in names {
        assert_eq!(confirm(store, &[(name, 799)]).await, [tally(0, 0)]);
        assert_eq!(waits(store, name).await, [""; 0]);
    }
}

async fn a_state_is_taken_once(store: &dyn MessageStore) {
    let save = async |parts: &[Vec<u8>]| store.save_state(parts).await.expect("it is saved");
    save(&[b"forgotten".to_vec(), b"this too".to_vec()]).await;
    let parts: Vec<_> = (0..600_usize)
        .map(|part| vec![part.to_le_bytes()[0]; part % 3 * 8_192])
        .collect();
    assert!(parts.iter().map(Vec::len).sum::<usize>() > 4 << 20);
    save(&parts).await;
    assert!(taken(store).await == parts, "the last that was saved");
    assert_eq!(taken(store).await, [[0; 0]; 0]);
    save(&[b"one".to_vec()]).await;
    save(&[]).await;
    assert_eq!(taken(store).await, [[0; 0]; 0]);
}

async fn reopening_changes_nothing(store: &dyn MessageStore, url: &str) {
    let parcels = [
        parcel(2_000, users(["ann"]), "for ann"),
        parcel(2_001, Waiting::Everyone, "one for all"),
        parcel(2_002, Waiting::Everyone, "two for all"),
    ];
    put(store, &parcels).await;
    confirm(store, &[("bob", 2_001)]).await;
    let before = tallies(store).await;
    assert_eq!(before.len(), 2);
    let state = [b"a".to_vec(), Vec::new(), b"b".to_vec()];
    store.save_state(&state).await.expect("it is saved");
    store.close().await;
    let late = store.put(&parcels).await;
    assert!(matches!(late, Err(StoreError::Failed(_))), "{late:?}");

    let store = open(url).await;
    assert_eq!(tallies(&*store).await, before);
    assert_eq!(waits(&*store, "ann").await.len(), 3);
    assert_eq!(waits(&*store, "bob").await, ["two for all"]);
    assert_eq!(taken(&*store).await, state);
    assert_eq!(taken(&*store).await, [[0; 0]; 0]);
    expire(&*store, 9_999, 99).await;
    assert_eq!(tallies(&*store).await, []);
    store.close().await;
}

async fn taken(store: &dyn MessageStore) -> Vec<Vec<u8>> {
    store.take_state().await.expect("it answers")
}
