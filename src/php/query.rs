//! `parse_str`, for the few fields that a caller wants.

use percent_encoding::percent_decode;

use crate::php::PhpValue;

/// PHP's `max_input_vars`: variables beyond it are dropped. It also bounds our work.
const MAX_VARIABLES: usize = 1000;

/// The fields of a query string, form or multipart body: a PHP array of which only the values
/// under `names` are kept.
#[derive(Debug)]
pub(crate) struct Fields<const N: usize> {
    names: [&'static str; N],
    slots: [Slot; N],
    variables: usize,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Missing,
    One(Vec<u8>),
    Many(Elements),
}

/// The elements of `name[]=a&name[k]=b`, by key.
#[derive(Debug)]
struct Elements {
    items: Vec<(Vec<u8>, PhpValue)>,
    /// What `[]` stands for; `None` once there is no greater one.
    next_index: Option<i64>,
}

impl<const N: usize> Fields<N> {
    pub(crate) fn new(names: [&'static str; N]) -> Self {
        Self {
            names,
            slots: std::array::from_fn(|_| Slot::default()),
            variables: 0,
        }
    }

    /// `parse_str($text)`: split at `&`, `+` is a space, a bad `%` stays, the last of equal names
    /// wins.
    pub(crate) fn parse(names: [&'static str; N], text: &[u8]) -> Self {
        let mut fields = Self::new(names);
        for pair in text.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let equals = pair.iter().position(|b| *b == b'=');
            let (name, value) = match equals {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            if !fields.set(&decode(name), decode(value)) {
                break;
            }
        }
        fields
    }

    /// Sets one variable, whose name may have brackets. False when there are too many.
    pub(crate) fn set(&mut self, name: &[u8], value: Vec<u8>) -> bool {
        if self.variables >= MAX_VARIABLES {
            return false;
        }
        let name = trim_leading_spaces(name);
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        if name.is_empty() {
            return true;
        }
        self.variables += 1;
        let (base, path) = match name.iter().position(|b| *b == b'[') {
            Some(at) if at > 0 && name[at..].contains(&b']') => (&name[..at], &name[at + 1..]),
            _ => (name, &[][..]),
        };
        let known = self.names.iter().position(|n| n.as_bytes() == base);
        if let Some(index) = known {
            self.slots[index].set(path, value);
        }
        true
    }

    /// Whether there is no variable at all, known or not: PHP's `empty($array)`.
    pub(crate) fn is_empty(&self) -> bool {
        self.variables == 0
    }

    /// The values under the names, in their order.
    pub(crate) fn into_values(self) -> [Option<PhpValue>; N] {
        self.slots.map(|slot| match slot {
            Slot::Missing => None,
            Slot::One(value) => Some(PhpValue::Text(value)),
            Slot::Many(elements) => Some(PhpValue::Array(
                elements.items.into_iter().map(|(_, value)| value).collect(),
            )),
        })
    }
}

impl Slot {
    /// `path` is what follows the first `[`, so `]`, `key]` or `key][more]`; empty without one.
    fn set(&mut self, path: &[u8], value: Vec<u8>) {
        let Some(end) = path.iter().position(|b| *b == b']') else {
            *self = Self::One(value);
            return;
        };
        if !matches!(self, Self::Many(_)) {
            *self = Self::Many(Elements::default());
        }
        let Self::Many(elements) = self else { return };
        let after = &path[end + 1..];
        let nested = after.starts_with(b"[") && after.contains(&b']');
        let value = match nested {
            true => PhpValue::Array(vec![PhpValue::Text(value)]),
            false => PhpValue::Text(value),
        };
        elements.set(&path[..end], value);
    }
}

impl Default for Elements {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            next_index: Some(0),
        }
    }
}

impl Elements {
    fn set(&mut self, key: &[u8], value: PhpValue) {
        let key = match (key, self.next_index) {
            // One white space passes for nothing.
            ([] | [b' ' | b'\t'..=b'\r'], Some(next)) => next.to_string().into_bytes(),
            ([] | [b' ' | b'\t'..=b'\r'], None) => return,
            _ => key.to_vec(),
        };
        if let Some(index) = index(&key) {
            let next = index.checked_add(1);
            self.next_index = self.next_index.and_then(|known| Some(known.max(next?)));
        }
        match self.items.iter_mut().find(|(k, _)| *k == key) {
            Some(item) => item.1 = value,
            None => self.items.push((key, value)),
        }
    }
}

/// A key that is a whole number for PHP: `7` and `-7`, not `07` or `+7`.
fn index(key: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(key).ok()?;
    let index: i64 = text.parse().ok()?;
    (index.to_string() == text).then_some(index)
}

fn decode(text: &[u8]) -> Vec<u8> {
    if !text.contains(&b'+') {
        return percent_decode(text).collect();
    }
    let spaced: Vec<u8> = text
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    percent_decode(&spaced).collect()
}

/// Only spaces: PHP leaves tabs and newlines in a name.
fn trim_leading_spaces(name: &[u8]) -> &[u8] {
    let start = name.iter().position(|b| *b != b' ').unwrap_or(name.len());
    &name[start..]
}

#[cfg(test)]
mod tests {
    use super::Fields;
    use crate::php::PhpValue;

    fn to(text: &str) -> Option<PhpValue> {
        let [to] = Fields::parse(["to"], text.as_bytes()).into_values();
        to
    }

    fn text(value: &str) -> PhpValue {
        PhpValue::Text(value.as_bytes().to_vec())
    }

    #[test]
    fn names_and_values_are_read_as_parse_str_reads_them() {
        assert_eq!(to("to=a+b%20c%zz%4"), Some(text("a b c%zz%4")));
        assert_eq!(to("to=a&to=b"), Some(text("b")));
        assert_eq!(to("%20to=a"), Some(text("a")));
        assert_eq!(to("to"), Some(text("")));
        assert_eq!(to("to%20=a"), None);
        assert_eq!(to("a=1;to=b"), None);
        assert_eq!(to("amp;to=b"), None);
    }

    #[test]
    fn brackets_make_lists() {
        let list = |items: &[&str]| Some(PhpValue::Array(items.iter().map(|i| text(i)).collect()));
        assert_eq!(to("to[]=a&to[]=b"), list(&["a", "b"]));
        assert_eq!(to("to%5B%5D=a"), list(&["a"]));
        assert_eq!(to("to[0]=a&to[0]=b&to[]=c"), list(&["b", "c"]));
        assert_eq!(to("to=x&to[k]=a"), list(&["a"]));
        assert_eq!(to("to[]=a&to=x"), Some(text("x")));
        assert_eq!(to("to[=x"), None);
        assert_eq!(to("to[a][b=x"), list(&["x"]));
        assert_eq!(to("to[ ]=a&to[%09]=b&to[  ]=c"), list(&["a", "b", "c"]));
        assert_eq!(to("to[ ]=a&to[0]=b"), list(&["b"]));
    }

    #[test]
    fn only_whole_numbers_as_php_writes_them_count_on() {
        let list = |items: &[&str]| Some(PhpValue::Array(items.iter().map(|i| text(i)).collect()));
        assert_eq!(to("to[00]=a&to[]=b&to[0]=c"), list(&["a", "c"]));
        assert_eq!(to("to[+5]=a&to[]=b&to[0]=c"), list(&["a", "c"]));
        assert_eq!(to("to[-5]=a&to[]=b&to[0]=c"), list(&["a", "c"]));
        assert_eq!(to("to[5]=a&to[]=b&to[6]=c"), list(&["a", "c"]));
        let last = "to[9223372036854775807]=a&to[]=b";
        assert_eq!(to(last), list(&["a"]));
    }
}
