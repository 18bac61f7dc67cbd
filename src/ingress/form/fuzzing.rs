//! What holds of a form push, whatever is sent. Built only for fuzzing; see `crate::fuzzing`.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::FutureExt as _;
use serde_json::Value;

use crate::config::EscapeHtml;
use crate::ingress::Command;
use crate::ingress::form::fields::{Fault, Parameters};
use crate::push::Target;
use crate::uid::Uid;

const SETTINGS: [EscapeHtml; 3] = [EscapeHtml::Modern, EscapeHtml::Compat, EscapeHtml::Off];

/// What a request asks for.
fn command(
    query: &[u8],
    (content_type, body): (&str, &[u8]),
    escape_html: EscapeHtml,
) -> Result<Command, Fault> {
    let body = Bytes::copy_from_slice(body);
    let read = Parameters::read(query, content_type.as_bytes(), body).now_or_never();
    let parameters = read.expect("what is in memory is read at once");
    let command = parameters.into_command(escape_html);
    if let Ok(command) = &command {
        sound(command, escape_html);
    }
    command
}

/// Commands have no equality, and need none otherwise.
fn shown(command: &Result<Command, Fault>) -> String {
    format!("{command:?}")
}

fn sound(command: &Command, escape_html: EscapeHtml) {
    let raw: &[char] = match escape_html {
        EscapeHtml::Modern => &['<', '>', '"', '\''],
        EscapeHtml::Compat => &['<', '>', '"'],
        EscapeHtml::Off => &[],
    };
    assert!(!command.content.contains(raw), "{:?}", command.content);
    match &command.target {
        Target::Everyone => {}
        Target::Users(uids) => {
            assert!(uids.len() <= 10_000);
            assert_eq!(uids.iter().collect::<HashSet<_>>().len(), uids.len());
            let is_uid = |uid: &Uid| (1..=Uid::MAX_LEN).contains(&uid.as_str().len());
            assert!(uids.iter().all(is_uid), "{uids:?}");
        }
        Target::Group(_) | Target::Topic(_) => panic!("forms know neither: {command:?}"),
    }
}

/// A form is the same in a URL and in a body, less what follows a NUL there.
pub(crate) fn urlencoded(bytes: &[u8]) {
    for setting in SETTINGS {
        let in_query = command(bytes, ("", b""), setting);
        let in_body = command(b"", ("text/plain", bytes), setting);
        if !bytes.contains(&0) {
            assert_eq!(shown(&in_query), shown(&in_body));
        }
    }
}

/// JSON means the same however it is written.
pub(crate) fn json(bytes: &[u8]) {
    for setting in SETTINGS {
        let read = command(b"", ("application/json", bytes), setting);
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            assert_eq!(read.err(), Some(Fault::NotPublish));
            continue;
        };
        let written = value.to_string();
        let again = command(b"", ("application/json", written.as_bytes()), setting);
        assert_eq!(shown(&read), shown(&again), "{written}");
    }
}

const BOUNDARY: &str = "no-value-has-this-in-it";

/// A multipart body means the same as the form of its fields.
pub(crate) fn multipart(bytes: &[u8]) {
    let line = bytes.iter().position(|byte| *byte == b'\n');
    let (boundary, body) = bytes.split_at(line.unwrap_or(0));
    let boundary = String::from_utf8_lossy(boundary);
    let content_type = format!("multipart/form-data; boundary={boundary}");
    command(b"", (&content_type, body), EscapeHtml::Modern).ok();

    let text = String::from_utf8_lossy(bytes);
    if text.contains(BOUNDARY) {
        return;
    }
    let names = ["content", "to", "to[]", "store"];
    let values = bytes.split(|byte| *byte == b'|').zip(names);
    let (mut parts, mut form) = (Vec::new(), String::from("type=publish"));
    for (name, value) in std::iter::once((&b"publish"[..], "type"))
        .chain(values)
        .map(swapped)
    {
        parts.extend(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n")
                .bytes(),
        );
        parts.extend_from_slice(value);
        parts.extend_from_slice(b"\r\n");
        form.push_str(&format!("&{name}="));
        form.extend(value.iter().map(|byte| format!("%{byte:02x}")));
    }
    parts.extend(format!("--{BOUNDARY}--\r\n").bytes());
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let in_parts = command(b"", (&content_type, &parts), EscapeHtml::Modern);
    let in_form = command(form.as_bytes(), ("", b""), EscapeHtml::Modern);
    assert_eq!(shown(&in_parts), shown(&in_form), "{form}");
}

fn swapped<A, B>((a, b): (A, B)) -> (B, A) {
    (b, a)
}
