//! `SECURITY.md` names the test that shows each thing that it says. They all have to be there.

use std::path::Path;

const TEXT: &str = include_str!("../../SECURITY.md");

/// The tests that the text names, each as `file.rs: name` between backticks: the file and the name.
fn named() -> Vec<(&'static str, &'static str)> {
    let codes = TEXT.split('`').skip(1).step_by(2);
    let tests = codes.filter_map(|code| code.split_once(": "));
    tests.filter(|(file, _)| file.ends_with(".rs")).collect()
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = named();
    assert!(named.len() > 50, "only {} tests are found", named.len());
    let is_missing = |(file, name): &(&str, &str)| {
        let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        let Some(at) = source.find(&format!("fn {name}(")) else {
            return true;
        };
        // What is no test shows nothing.
        let before = source[..at].trim_end().trim_end_matches("async").trim_end();
        let before = before.lines().next_back().unwrap_or_default().trim();
        !(before.starts_with("#[") && before.contains("test"))
    };
    let missing: Vec<_> = named.iter().filter(|test| is_missing(test)).collect();
    assert!(missing.is_empty(), "SECURITY.md names {missing:?}");
}
