//! What the server is made of: where it comes from, under which licence, and what is kept out. `make deny`
//! tells more.

use std::process::Command;

use serde_json::Value;

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

/// The licences that `deny.toml` allows.
fn allowed() -> Vec<spdx::LicenseId> {
    let deny = include_str!("../../deny.toml");
    let mut lines = deny.lines();
    let list = lines.find_map(|line| line.strip_prefix("allow = [")?.strip_suffix(']'));
    let names = list.expect("a list").split(", ");
    let names = names.map(|name| name.trim_matches('"'));
    names
        .map(|name| spdx::license_id(name).expect(name))
        .collect()
}

#[test]
fn everything_is_under_a_licence_that_deny_toml_allows() {
    let allowed = allowed();
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let (name, licence) = (&package["name"], package["license"].as_str());
        let licence = licence.unwrap_or_else(|| panic!("{name} has no licence"));
        let licence = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
        let licence = licence.unwrap_or_else(|e| panic!("{name}: {e}"));
        let is_allowed = licence.evaluate(|wanted| {
            wanted.addition.is_none() && wanted.license.id().is_some_and(|id| allowed.contains(&id))
        });
        assert!(is_allowed, "{name}: {licence}");
    }
}
