//! The figures of a server, read from its admin listener and held to what OpenMetrics asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::harness::http::Http;
use crate::harness::{DEADLINE, Server};

/// What `/metrics` says, by what stands before each value.
#[derive(Debug, Clone)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub(crate) async fn of(server: &Server) -> Self {
        let mut http = Http::open(server.admin()).await;
        http.get("/metrics").await;
        Self::read(&http.answer().await.text())
    }

    /// Reads the text, and holds it to what OpenMetrics asks for.
    pub(crate) fn read(text: &str) -> Self {
        let text = text.strip_suffix("# EOF\n").expect("the last line is EOF");
        assert!(text.ends_with('\n'), "each line has an end");
        let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
        let (mut name, mut kind) = (String::new(), String::new());
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", family, help] => {
                    assert!(families.insert(family.to_owned()), "twice: {line}");
                    assert!(help.ends_with('.'), "{line}");
                    family.clone_into(&mut name);
                    kind.clear();
                }
                ["#", "TYPE", family, of] => {
                    assert_eq!(family, name);
                    of.clone_into(&mut kind);
                }
                ["#", "UNIT", family, unit] => {
                    assert_eq!(family, name);
                    assert!(family.ends_with(&format!("_{unit}")), "{line}");
                }
                _ => {
                    let (sample, value) = line.rsplit_once(' ').expect("a value");
                    is_of(sample, &name, &kind);
                    let value = value.parse().expect("a value is a number");
                    let new = samples.insert(sample.to_owned(), value).is_none();
                    assert!(new, "twice: {line}");
                }
            }
        }
        Self(samples)
    }

    pub(crate) fn value(&self, name: &str) -> f64 {
        let value = self.0.get(name);
        *value.unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    /// How far each counter has moved since.
    fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let counters = self.0.iter().filter(|(name, _)| name.contains("_total"));
        let moved = counters.map(|(name, now)| (name, now - before.value(name)));
        let moved = moved.filter(|(_, by)| *by != 0.0);
        moved.map(|(name, by)| (name.clone(), by)).collect()
    }

    /// Waits until the counters have moved by so much since the last time, and no other has.
    pub(crate) async fn moves(&mut self, server: &Server, expected: &[(&str, u32)]) {
        let expected = expected.iter();
        let expected = expected.map(|(counter, by)| (full(counter), f64::from(*by)));
        let expected: BTreeMap<_, _> = expected.collect();
        self.moves_until(server, |moved| *moved == expected, &expected)
            .await;
    }

    /// Waits until one counter has moved by so much since the last time.
    pub(crate) async fn moves_among(&mut self, server: &Server, counter: &str, by: u32) {
        let (counter, by) = (full(counter), f64::from(by));
        let has = |moved: &BTreeMap<_, _>| moved.get(&counter) == Some(&by);
        self.moves_until(server, has, &counter).await;
    }

    /// How far a counter has moved since the last time.
    pub(crate) async fn moved(&self, server: &Server, counter: &str) -> u32 {
        let moved = Self::of(server).await.since(self);
        moved[&full(counter)] as u32
    }

    async fn moves_until(
        &mut self,
        server: &Server,
        has: impl Fn(&BTreeMap<String, f64>) -> bool,
        expected: &impl std::fmt::Debug,
    ) {
        let deadline = Instant::now() + DEADLINE;
        let mut again = tokio::time::interval(Duration::from_millis(5));
        loop {
            let now = Self::of(server).await;
            let moved = now.since(self);
            if has(&moved) {
                *self = now;
                return;
            }
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "moved {moved:#?}, expected {expected:#?}");
            again.tick().await;
        }
    }
}

/// `pushes{…}` is the counter `campanile_pushes_total{…}`.
fn full(counter: &str) -> String {
    let (name, labels) = counter.split_at(counter.find('{').unwrap_or(counter.len()));
    format!("campanile_{name}_total{labels}")
}

/// A sample has a name that its family allows, and labels that are quoted.
fn is_of(sample: &str, family: &str, kind: &str) {
    let (name, labels) = match sample.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end")),
        None => (sample, ""),
    };
    let suffix = name.strip_prefix(family).expect("it follows its family");
    let suffixes: &[&str] = match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_sum", "_count", "_bucket"],
        _ => panic!("{family} is a {kind:?}"),
    };
    assert!(suffixes.contains(&suffix), "{sample} of a {kind}");
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (key, value) = label.split_once('=').expect("a label has a value");
        let plain = |text: &str| text.chars().all(|c| c == '_' || c.is_ascii_lowercase());
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let value = value.expect("it is quoted");
        assert!(plain(key) && (plain(value) || key == "le"), "{sample}");
    }
}
