//! What holds of a page's URL, whatever it is. Built only for fuzzing; see `crate::fuzzing`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::gateway::chat::query::Query;

/// What was read can be written, and is read again.
pub(crate) fn query(text: &str) {
    let read = Query::read(text);
    let mut again = Vec::new();
    let mut write = |name: &str, value: &str| {
        again.push(format!(
            "{name}={}",
            utf8_percent_encode(value, NON_ALPHANUMERIC)
        ));
    };
    if let Some(uid) = &read.uid {
        write("uid", uid);
    }
    if let Some(token) = &read.token {
        write("token", token);
    }
    if let Some(since) = &read.since {
        write("since", &since.to_string());
    }
    assert_eq!(Query::read(&again.join("&")), read);
}
