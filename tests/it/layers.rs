//! The shape of the code: imports go downward and never round in a circle, files stay short, and
//! no test sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of `src/lib.rs`, from the top. What stands in one line may not import each other.
const LAYERS: [&[&str]; 15] = [
    // Built for fuzzing only.
    &["fuzzing"],
    &["cli"],
    &["app"],
    &["gateway", "ingress", "web", "admin"],
    &["chat"],
    &["hub"],
    &["auth", "net", "store", "telemetry"],
    &["limits"],
    &["metrics", "readiness"],
    &["push"],
    &["record"],
    &["topic"],
    &["group", "uid"],
    &["php"],
    &["config"],
];

/// Imports against the order, each with its reason.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// The longest file, without its inline tests.
const MAX_LINES: usize = 400;

#[test]
fn imports_go_downward() {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    for (file, source) in sources("src") {
        let from = module(&file);
        let top = from.split("::").next().unwrap_or_default().to_owned();
        let Some(own) = layer(&top) else {
            assert!(top.is_empty(), "{top} has no place in the layers");
            continue;
        };
        for import in imports(&source) {
            let to = import.split("::").next().unwrap_or_default();
            let theirs = layer(to).unwrap_or_else(|| panic!("{to} has no place in the layers"));
            let allowed = to == top || own < theirs || EXCEPTIONS.contains(&(top.as_str(), to));
            assert!(
                allowed,
                "{} imports {to}, which is not below it",
                file.display()
            );
        }
    }
}

#[test]
fn modules_do_not_import_each_other_in_circles() {
    let sources = sources("src");
    let modules: BTreeSet<String> = sources.iter().map(|(file, _)| module(file)).collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, source) in &sources {
        let from = module(file);
        let targets = imports(source).filter_map(|import| longest_module(&modules, &import));
        // What a parent has, its children may use: it is theirs to begin with.
        let targets = targets.filter(|to| !is_within(&from, to));
        let targets = targets.filter(|to| !EXCEPTIONS.contains(&(from.as_str(), to)));
        edges.entry(from.clone()).or_default().extend(targets);
    }
    for start in &modules {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = edges[start].iter().collect();
        while let Some(module) = next.pop() {
            assert!(
                module != start,
                "{start} imports itself, by way of {reached:?}"
            );
            if reached.insert(module) {
                next.extend(&edges[module]);
            }
        }
    }
}

#[test]
fn no_test_sleeps() {
    let forbidden = ["sleep(", "sleep_until("];
    for (file, source) in sources("tests/it").into_iter().chain(sources("tests/php")) {
        let name = file.display();
        if file.ends_with("layers.rs") {
            continue;
        }
        let found = forbidden.iter().find(|word| source.contains(**word));
        assert!(
            found.is_none(),
            "{name} has {found:?}: wait for a condition instead"
        );
    }
}

#[test]
fn files_stay_short() {
    for (file, source) in sources("src").into_iter().chain(sources("tests/it")) {
        let tests = source.find("\n#[cfg(test)]\nmod tests {");
        let lines = source[..tests.unwrap_or(source.len())].lines().count();
        let name = file.display();
        assert!(
            lines <= MAX_LINES,
            "{name} has {lines} lines, the most is {MAX_LINES}"
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (file, source) in sources("src").into_iter().chain(sources("tests/it")) {
        if file.extension().is_some_and(|extension| extension == "rs") {
            assert!(
                source.starts_with("//! "),
                "{} opens without //!",
                file.display()
            );
        }
    }
}

/// The files under a folder of the repository, with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("the file is text");
                found.push((
                    path.strip_prefix(root).expect("it is below").to_owned(),
                    text,
                ));
            }
        }
    }
    found
}

/// `src/hub/session.rs` is `hub::session`; the two roots, `lib.rs` and `main.rs`, are the empty
/// name.
fn module(file: &Path) -> String {
    let path = file.strip_prefix("src").unwrap_or(file).with_extension("");
    let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
    match names.join("::").as_str() {
        "lib" | "main" => String::new(),
        name => name.to_owned(),
    }
}

/// What a source names by `crate::`, in an import or in passing.
fn imports(source: &str) -> impl Iterator<Item = String> {
    let code = source
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|path| {
            assert!(
                !path.starts_with('{'),
                "one module an import: crate::{path}"
            );
            let end = path.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            path[..end.unwrap_or(path.len())]
                .trim_end_matches(':')
                .to_owned()
        })
}

/// The module that a path leads into; what follows it is an item's name.
fn longest_module(modules: &BTreeSet<String>, path: &str) -> Option<String> {
    let mut path = path;
    while !modules.contains(path) {
        path = path.rsplit_once("::")?.0;
    }
    Some(path.to_owned())
}

/// Whether `module` is `ancestor` or stands below it.
fn is_within(module: &str, ancestor: &str) -> bool {
    let rest = module.strip_prefix(ancestor);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
