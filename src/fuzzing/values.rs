//! What holds of chat messages, tokens and topics.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::hmac;
use serde_json::Value;

use crate::auth::{Auth, Claim};
use crate::chat::request::{Limits, Order, Recipient, Request};
use crate::config;
use crate::group::Group;
use crate::record::{RecordId, stamped};
use crate::topic::TopicReader;
use crate::uid::Uid;

/// A message of a chat page.
pub fn chat_request(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for stamps in [true, false] {
        let limits = Limits {
            max_addressees: 5,
            stamps,
        };
        let request = match Request::read(text, limits) {
            Ok(request) => request,
            Err((_, reference)) => {
                assert!(reference.is_none_or(|json| json.get().len() <= 128));
                continue;
            }
        };
        assert!(request.reference.is_none_or(|json| json.get().len() <= 128));
        sound(&request.order, limits);
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            continue;
        };
        assert!(value.is_object(), "{text}");
        if matches!(request.order, Order::Send(_)) && stamps {
            stamp(text, &value);
        }
    }
}

fn sound(order: &Order, limits: Limits) {
    let users = |uids: &[Uid]| {
        assert!(
            (1..=limits.max_addressees).contains(&uids.len()),
            "{uids:?}"
        );
        assert_eq!(uids.iter().collect::<HashSet<_>>().len(), uids.len());
        assert!(uids.iter().all(|uid| is_uid(uid.as_str())));
    };
    let group = |group: &Group| assert!((1..=Group::MAX_LEN).contains(&group.as_str().len()));
    match order {
        Order::Login { .. } => {}
        Order::Watch(uids) | Order::Unwatch(uids) => users(uids),
        Order::Join { group: name, .. } | Order::Leave(name) => group(name),
        Order::Send(to) | Order::History { of: to, .. } => match to {
            Recipient::Users(uids) => users(uids),
            Recipient::Group(name) => group(name),
        },
    }
}

/// What the server adds is all that it adds, and nobody else can have added it.
fn stamp(text: &str, sent: &Value) {
    let sender = Uid::parse("the \"sender\"").expect("it is short");
    let stamped = stamped(text, RecordId(7), Some(&sender), 9);
    let mut read: Value = serde_json::from_str(&stamped).expect("a stamped message is JSON");
    let members = read.as_object_mut().expect("an object stays one");
    assert_eq!(members.remove("_id"), Some(Value::from(7)));
    assert_eq!(members.remove("_from"), Some(Value::from(sender.as_str())));
    assert_eq!(members.remove("_ts"), Some(Value::from(9)));
    assert_eq!(&read, sent, "{text}");
}

fn is_uid(text: &str) -> bool {
    (1..=Uid::MAX_LEN).contains(&text.len())
}

const SECRET: &str = "a secret of fuzzing, which is long enough for any of them";

/// The one place that knows how a token is judged: the uid that it gives a right to.
fn admitted(token: &[u8]) -> Option<Uid> {
    judged(config::AuthMode::Signed, token)
}

fn judged(mode: config::AuthMode, credential: &[u8]) -> Option<Uid> {
    let config = config::Auth {
        mode,
        secret: SECRET.into(),
        jwt_keys: vec![config::JwtKey {
            secret: SECRET.into(),
            ..config::JwtKey::default()
        }],
        ..config::Auth::default()
    };
    let auth = Auth::new(&config).expect("it can be judged by");
    let admitted = auth.admit(Claim::of(credential)).now();
    admitted.ok().map(|admitted| admitted.uid)
}

/// A JSON Web Token.
pub fn jwt(bytes: &[u8]) {
    if let Some(uid) = judged(config::AuthMode::Jwt, bytes) {
        panic!("signed by nobody, taken for {uid:?}");
    }
}

/// A token, and a claim without one.
pub fn token(bytes: &[u8]) {
    let is_name = std::str::from_utf8(bytes).is_ok_and(is_uid);
    let open = judged(config::AuthMode::Open, bytes);
    assert_eq!(open.is_some(), is_name);
    if let Some(uid) = admitted(bytes) {
        panic!("signed by nobody, taken for {uid:?}");
    }
    // The first byte says what is done to a token that is made of the rest.
    let Some((act, uid)) = bytes.split_first() else {
        return;
    };
    let Ok(uid) = std::str::from_utf8(uid) else {
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_secs();
    let good = signed(uid, now + 60);
    assert_eq!(admitted(good.as_bytes()).is_some(), is_uid(uid), "{good}");
    assert_eq!(admitted(signed(uid, now - 1).as_bytes()), None, "expired");
    let mut bad = good.clone().into_bytes();
    let at = usize::from(*act) * 7919 % bad.len();
    bad[at] ^= 1 << (act % 8);
    // Hexadecimal digits have two cases.
    if !bad.eq_ignore_ascii_case(good.as_bytes()) || at < bad.len() - 64 {
        assert_eq!(admitted(&bad), None, "changed at {at}: {good}");
    }
    bad = good.into_bytes();
    bad.truncate(at);
    assert_eq!(admitted(&bad), None, "cut at {at}");
}

fn signed(uid: &str, expiry: u64) -> String {
    let signed = format!("{uid}.{expiry}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    let digits: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{signed}.{digits}")
}

/// What a page wants to hear of.
pub fn topic(bytes: &[u8]) {
    for matching in [config::Matching::Shared, config::Matching::Exact] {
        let config = config::Topics {
            matching,
            ..config::Topics::default()
        };
        let reader = TopicReader::new(&config);
        let Ok(Some(wanted)) = reader.subscription(bytes) else {
            continue;
        };
        let pairs = wanted.pairs();
        assert!((1..=TopicReader::MAX_MEMBERS).contains(&pairs.len()));
        assert!(pairs.is_sorted_by(|(a, _), (b, _)| a < b), "{pairs:?}");
        let same = reader.topic(pairs.to_vec());
        assert!(same.concerns(&wanted), "{pairs:?}");
        let mut other = pairs.to_vec();
        other[0].1 = format!("{}.", other[0].1).into();
        assert!(!reader.topic(other).concerns(&wanted), "{pairs:?}");
    }
}
