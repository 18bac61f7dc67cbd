//! What holds of the value rules of PHP.

use std::borrow::Cow;

use serde_json::Value;

use crate::php::PhpValue;
use crate::php::escape::{Flavour, htmlspecialchars, to_valid_utf8};
use crate::php::json::{Member, members, without_member};
use crate::php::query::Fields;

/// `htmlspecialchars`, and the string cast of a float.
pub fn escape(bytes: &[u8]) {
    let text = to_valid_utf8(bytes);
    let is_valid = std::str::from_utf8(bytes).is_ok();
    if is_valid {
        assert_eq!(text.as_bytes(), bytes, "valid text stays as it is");
    }
    let modern = htmlspecialchars(bytes, Flavour::Modern);
    assert!(!modern.contains(['<', '>', '"', '\'']), "{modern}");
    assert_eq!(unescaped(&modern), text, "nothing but the five is changed");
    let compat = htmlspecialchars(bytes, Flavour::Compat);
    assert!(!compat.contains(['<', '>', '"']), "{compat}");
    if is_valid {
        assert_eq!(unescaped(&compat), text);
    } else {
        assert!(compat.is_empty(), "invalid text is dropped: {compat}");
    }
    if let Some(bits) = bytes.first_chunk() {
        float(f64::from_le_bytes(*bits));
    }
}

fn unescaped(html: &str) -> String {
    let mut text = html.to_owned();
    for (entity, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#039;", "'"),
    ] {
        text = text.replace(entity, c);
    }
    text.replace("&amp;", "&")
}

fn float(value: f64) {
    let cast = PhpValue::Float(value);
    let text = cast.to_text().expect("a float is cast");
    let text = std::str::from_utf8(&text).expect("numbers are ASCII");
    if !value.is_finite() {
        return assert!(["INF", "-INF", "NAN"].contains(&text), "{text}");
    }
    let read: f64 = text.parse().expect("a number is read back");
    let error = (read - value).abs();
    // Half of the fourteenth digit; a float next to the largest may round beyond it.
    assert!(
        error <= value.abs() * 5e-14 || read.is_infinite(),
        "{value:e} as {text}"
    );
}

/// `parse_str`.
pub fn query(bytes: &[u8]) {
    let read = |text: &[u8]| Fields::parse(["to", "content"], text).into_values();
    read(bytes);
    // Whatever values are, written as a form they are read again.
    let values: Vec<&[u8]> = bytes.split(|byte| *byte == b'|').collect();
    let encoded = |value: &[u8]| {
        value
            .iter()
            .map(|b| format!("%{b:02x}"))
            .collect::<String>()
    };
    let list: Vec<String> = values
        .iter()
        .map(|v| format!("to[]={}", encoded(v)))
        .collect();
    let last = values.last().copied().unwrap_or_default();
    let form = format!("{}&content={}", list.join("&"), encoded(last));
    let [to, content] = read(form.as_bytes());
    // `content` is one of the thousand variables.
    if values.len() < 1000 {
        let list = values.iter().map(|v| PhpValue::Text(v.to_vec()));
        assert_eq!(to, Some(PhpValue::Array(list.collect())), "{form}");
        assert_eq!(content, Some(PhpValue::Text(last.to_vec())), "{form}");
    } else {
        assert_eq!(content, None, "{form}");
    }
}

/// The members of an object, read one by one.
pub fn json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let value: Result<Value, _> = serde_json::from_str(text);
    let mut met = Vec::new();
    let read = members(text, |_| true, |name, member| met.push((name, member)));
    match (&value, &read) {
        (Ok(Value::Object(map)), Ok(())) => same(map, &met, text),
        (Ok(Value::Object(_)), Err(fault)) => panic!("{text} is an object, yet: {fault}"),
        (Ok(_), Ok(())) => panic!("{text} is no object"),
        // Depth, and numbers beyond a float in what is skipped, are no fault here.
        (Ok(_) | Err(_), _) => {}
    }
    removed(text, value.is_ok());
}

fn same(map: &serde_json::Map<String, Value>, met: &[(Cow<'_, str>, Member<'_>)], text: &str) {
    assert!(
        met.iter().all(|(name, _)| map.contains_key(&**name)),
        "{text}"
    );
    for (name, value) in map {
        let last = met.iter().rfind(|(met, _)| met == name);
        let (_, member) = last.expect("each member is met");
        let expected = PhpValue::from(value.clone());
        let is_same = match member {
            Member::Null => expected == PhpValue::Null,
            Member::Bool(b) => expected == PhpValue::Bool(*b),
            Member::Int(n) => expected == PhpValue::Int(*n),
            Member::Float(n) => expected == PhpValue::Float(*n),
            Member::Text(text) => expected == PhpValue::Text(text.as_bytes().to_vec()),
            Member::Nested => value.is_array() || value.is_object(),
        };
        assert!(is_same, "{name} is {member:?} in {text}");
    }
}

fn removed(text: &str, is_plain: bool) {
    let Ok(kept) = without_member(text, "secret") else {
        return;
    };
    let again = without_member(&kept, "secret").expect("an object stays one");
    assert_eq!(again, kept, "what is taken out is gone");
    if is_plain {
        let mut before: Value = serde_json::from_str(text).expect("it was read before");
        let after: Value = serde_json::from_str(&kept).expect("an object stays one");
        before.as_object_mut().expect("it is one").remove("secret");
        assert_eq!(before, after, "{text}");
    }
}
