//! What the server is made of, as far as the lock files tell. `make deny` looks at the licences too.

const LOCKS: [(&str, &str); 2] = [
    ("Cargo.lock", include_str!("../../Cargo.lock")),
    ("fuzz/Cargo.lock", include_str!("../../fuzz/Cargo.lock")),
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The values of a key, one a line.
fn values<'a>(lock: &'a str, key: &str) -> Vec<&'a str> {
    let start = format!("{key} = \"");
    let lines = lock.lines().filter_map(|line| line.strip_prefix(&*start));
    lines.filter_map(|rest| rest.strip_suffix('"')).collect()
}

#[test]
fn every_dependency_comes_from_the_registry() {
    for (name, lock) in LOCKS {
        let sources = values(lock, "source");
        assert!(sources.len() > 100, "{name} is read");
        let others: Vec<_> = sources.iter().filter(|from| **from != CRATES_IO).collect();
        assert!(others.is_empty(), "{name}: {others:?}");
    }
}

#[test]
fn nothing_that_deny_toml_bans_is_built_in() {
    let deny = include_str!("../../deny.toml");
    let banned = deny
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \""));
    let banned: Vec<_> = banned.filter_map(|rest| rest.split('"').next()).collect();
    assert!(banned.contains(&"openssl-sys"), "{banned:?}");
    for (name, lock) in LOCKS {
        let there = values(lock, "name");
        assert!(there.contains(&"ring"), "{name} is read");
        let found: Vec<_> = banned.iter().filter(|name| there.contains(name)).collect();
        assert!(found.is_empty(), "{name}: {found:?}");
    }
}

#[test]
fn the_fuzz_targets_are_built_with_what_the_server_is_built_with() {
    let versions = |lock: &str| -> Vec<(String, String)> {
        let (names, versions) = (values(lock, "name"), values(lock, "version"));
        let owned = |(name, version): (&str, &str)| (name.to_owned(), version.to_owned());
        names.into_iter().zip(versions).map(owned).collect()
    };
    let server = versions(LOCKS[0].1);
    for name in [
        "socketioxide",
        "hyper",
        "rustls",
        "serde_json",
        "multer",
        "tungstenite",
    ] {
        let of = |all: &[(String, String)]| -> Vec<String> {
            let found = all.iter().filter(|(other, _)| other == name);
            found.map(|(_, version)| version.clone()).collect()
        };
        assert_eq!(of(&versions(LOCKS[1].1)), of(&server), "{name}");
    }
}
