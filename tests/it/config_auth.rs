//! The section of who may log in: what contradicts itself is refused, and no secret is shown.

use campanile::config::load::{Sources, load};

use crate::harness::process::{campanile, output_of};

fn refusal(settings: &[&str]) -> Option<String> {
    let sources = Sources {
        flags: settings.iter().map(|s| format!("auth.{s}")).collect(),
        ..Sources::default()
    };
    load(&sources).err().map(|error| error.to_string())
}

const SECRET: &str = "secret=0123456789abcdef";
const KEY: &str = r#"jwt_keys=[{ secret = "0123456789abcdef0123456789abcdef", kid = "a" }]"#;

#[test]
fn each_mode_can_be_configured() {
    let good: [&[&str]; 8] = [
        &["mode=open"],
        &["mode=signed", SECRET],
        &["mode=signed", SECRET, r#"old_secrets=["fedcba9876543210"]"#],
        &["mode=jwt", KEY],
        &["mode=jwt", r#"jwt_keys=[{ file = "key.pem" }]"#],
        &["mode=jwt", "jwks_url=https://login.example.com/keys"],
        &["mode=webhook", "webhook_url=http://127.0.0.1:8000/login"],
        &[
            "mode=webhook",
            "webhook_url=http://[::1]/",
            "webhook_headers=[]",
        ],
    ];
    for settings in good {
        assert_eq!(refusal(settings), None, "{settings:?}");
    }
}

/// Settings, the key that is to blame, and what is told of it.
const WRONG: [(&[&str], &str, &str); 21] = [
    (&["mode=signed"], "secret", "at least 16 bytes"),
    (
        &["mode=signed", "secret=short"],
        "secret",
        "at least 16 bytes",
    ),
    (
        &[SECRET, r#"old_secrets=[""]"#],
        "old_secrets",
        "at least 16 bytes",
    ),
    (&["mode=jwt"], "jwt_keys", "has to name a key"),
    (
        &[r#"jwt_keys=[{ kid = "a" }]"#],
        "jwt_keys",
        "neither a file nor a secret",
    ),
    (
        &[r#"jwt_keys=[{ file = "a" }, { secret = "0123456789abcdef" }]"#],
        "jwt_keys",
        "number 2 has a secret of less than 32 bytes",
    ),
    (
        &[r#"jwt_keys=[{ file = "a", secret = "b" }]"#],
        "jwt_keys",
        "a file and a secret",
    ),
    (
        &[r#"jwt_keys=[{ path = "a" }]"#],
        "jwt_keys",
        "unknown field",
    ),
    (
        &["jwks_url=login.example.com"],
        "jwks_url",
        "has to be an address",
    ),
    (
        &["jwks_url=file:///etc/keys"],
        "jwks_url",
        "has to be an address",
    ),
    (&["jwks_refresh=1s"], "jwks_refresh", "from 10s to 7days"),
    (&["jwt_leeway=2h"], "jwt_leeway", "at most 1h"),
    (&["mode=webhook"], "webhook_url", "has to be given"),
    (
        &["webhook_url=/login"],
        "webhook_url",
        "has to be an address",
    ),
    (
        &["webhook_secret=short"],
        "webhook_secret",
        "at least 16 bytes",
    ),
    (
        &["webhook_secret=0123456789abcdef\n"],
        "webhook_secret",
        "of what a header can hold",
    ),
    (
        &[r#"webhook_headers=["a b"]"#],
        "webhook_headers",
        "the name of a header",
    ),
    (
        &["webhook_timeout=0s"],
        "webhook_timeout",
        "longer than zero",
    ),
    (&["webhook_timeout=2m"], "webhook_timeout", "at most 1m"),
    (
        &["webhook_concurrency=0"],
        "webhook_concurrency",
        "from 1 to 10000",
    ),
    (
        &["webhook_queue=1000001"],
        "webhook_queue",
        "at most 1000000",
    ),
];

#[test]
fn what_cannot_be_meant_is_told_with_its_key() {
    for (settings, key, problem) in WRONG {
        let told = refusal(settings).unwrap_or_default();
        let begins = told.starts_with(&format!("auth.{key} = "));
        assert!(begins && told.contains(problem), "{settings:?}: {told:?}");
    }
}

#[test]
fn a_secret_is_not_shown_wherever_it_was_put() {
    let slips = [
        "mode=signed secret=hidden",
        r#"old_secrets=["hidden"]"#,
        r#"old_secrets={ a = "hidden" }"#,
        "old_secrets=hidden",
        "jwt_keys=hidden",
        r#"jwt_keys=["hidden"]"#,
        r#"jwt_keys=[{ secret = "hidden" }]"#,
        r#"jwt_keys=[{ secret = ["hidden"] }]"#,
        r#"jwt_keys=[{ sekret = "hidden" }]"#,
        "webhook_secret=hidden",
        "webhook_url=hidden",
    ];
    for slip in slips {
        let settings: Vec<&str> = match slip.split_once(" secret") {
            Some((mode, _)) => vec![mode, "secret=hidden"],
            None => vec![slip],
        };
        let told = refusal(&settings).unwrap_or_else(|| panic!("{slip} is taken"));
        assert!(!told.contains("hidden"), "{slip}: {told}");
        assert!(told.contains("***"), "{slip}: {told}");
    }
}

/// What the program says of a configuration that is wrong.
async fn told(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = campanile(&[&["check-config"], arguments].concat());
    command.envs(variables.iter().copied());
    let output = output_of(command).await;
    assert_eq!(output.status.code(), Some(1), "{variables:?} {arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("it is text")
}

#[tokio::test]
async fn a_secret_under_a_name_that_is_misspelt_is_not_shown() {
    const HIDDEN: &str = "push:s3cr3t-s3cr3t-s3cr3t";
    let variables = [
        ("CAMPANILE_API_KEYS", "CAMPANILE_API__KEYS"),
        ("CAMPANILE_AUTH_WEBHOOK_URL", "CAMPANILE_AUTH__WEBHOOK_URL"),
        ("CAMPANILE_API__KEY", "keys"),
        ("CAMPANILE_APIS__KEYS", "sections are"),
        ("CAMPANILE_STORE__URI", "[store] has"),
    ];
    for (name, right) in variables {
        let told = told(&[(name, HIDDEN)], &[]).await;
        assert!(told.contains(name) && told.contains(right), "{told}");
        assert!(!told.contains("s3cr3t"), "{told}");
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("campanile.toml");
    let files = [
        (format!("[api]\nkey = [{HIDDEN:?}]"), "api.key ", "keys"),
        (format!("[apis]\nkeys = [{HIDDEN:?}]"), "apis ", "api"),
        (format!("api = {HIDDEN:?}"), "api ", "[api] has"),
        (
            "[store]\nuri = \"postgres://u:s3cr3t@h\"".to_owned(),
            "store.uri ",
            "url",
        ),
        (format!("[api]\nkeys = {HIDDEN}"), "line 2", "TOML"),
        (format!("[api]\nkeys = [{HIDDEN:?}"), "line 2", "TOML"),
        (format!("[api]\n{HIDDEN}"), "line 2", "TOML"),
    ];
    for (text, name, right) in files {
        std::fs::write(&path, &text).expect("a file can be written");
        let path = path.to_str().expect("it is text");
        let told = told(&[], &["--config", path]).await;
        assert!(told.contains(name) && told.contains(right), "{told}");
        assert!(!told.contains("s3cr3t"), "{told}");
    }
    let flags = [
        ("api_keys=", "api.keys=value"),
        ("api.key=", "keys"),
        ("apis.keys=", "sections are"),
        ("store=postgres:", "section.key=value"),
        ("api.keys:", "api.keys***"),
        ("", "section.key=value"),
    ];
    for (begins, right) in flags {
        let told = told(&[], &["--set", &format!("{begins}{HIDDEN}")]).await;
        assert!(told.contains("--set") && told.contains(right), "{told}");
        assert!(!told.contains("s3cr3t"), "{told}");
    }
}
