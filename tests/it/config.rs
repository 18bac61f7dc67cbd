//! The configuration: what beats what, and how each mistake is told.

use std::collections::HashSet;
use std::error::Error as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use campanile::config::load::{Sources, load, parse};
use campanile::config::{Config, EXAMPLE, EscapeHtml};

use crate::harness::process::{campanile, output_of};

#[test]
fn the_example_holds_every_key_with_its_default() {
    assert_eq!(
        parse(EXAMPLE).expect("the example is sound"),
        Config::default()
    );
    let written: toml::Table = EXAMPLE.parse().expect("the example is TOML");
    let known = toml::Table::try_from(Config::default()).expect("the defaults are data");
    let keys = |table: &toml::Table| {
        let sections = table.iter().flat_map(|(section, keys)| {
            let keys = keys.as_table().expect("a section is a table");
            keys.keys().map(move |key| format!("{section}.{key}"))
        });
        sections.collect::<HashSet<_>>()
    };
    assert_eq!(keys(&written), keys(&known));
    assert_eq!(Config::default().validate(), Ok(()));
}

/// A file with this text; keep the folder for as long as the file is needed.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let path = folder.path().join("campanile.toml");
    std::fs::write(&path, text).expect("a file can be written");
    (folder, path)
}

fn from_file(path: PathBuf) -> Sources {
    Sources {
        file: Some(path),
        ..Sources::default()
    }
}

fn variable(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

fn flags(flags: &[&str]) -> Sources {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    Sources {
        flags,
        ..Sources::default()
    }
}

#[test]
fn nothing_said_is_the_default() {
    assert_eq!(
        load(&Sources::default()).expect("it is sound"),
        Config::default()
    );
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let (_folder, path) = file(
        "[presence]\ninterval = \"2s\"\ntext = \"file\"\n\
        [shutdown]\ngrace = \"2s\"\n[socketio]\nmax_queue = 200\n",
    );
    let mut sources = Sources {
        file: Some(path),
        environment: vec![
            variable("CAMPANILE_PRESENCE__INTERVAL", "3s"),
            variable("CAMPANILE_SHUTDOWN__GRACE", "3s"),
            variable("CAMPANILE_SOCKETIO__PUSH_TO_SID", "false"),
            variable("CAMPANILE_HOME", "not ours"),
            variable("PRESENCE__TEXT", "not ours"),
        ],
        flags: vec![
            "presence.interval=4s".to_owned(),
            "presence.interval=5s".to_owned(),
        ],
    };
    let config = load(&sources).expect("it is sound");
    assert_eq!(config.presence.interval, Duration::from_secs(5));
    assert_eq!(config.shutdown.grace, Duration::from_secs(3));
    assert_eq!(config.presence.text, "file");
    assert_eq!(config.socketio.max_queue, 200);
    assert!(!config.socketio.push_to_sid);
    assert_eq!(config.http, Config::default().http);
    sources.flags.clear();
    let config = load(&sources).expect("it is sound");
    assert_eq!(config.presence.interval, Duration::from_secs(3));
}

#[test]
fn every_kind_of_value_can_be_given_as_text() {
    let config = load(&flags(&[
        "http.listen=0.0.0.0:8080",
        "api.allow_open=true",
        "web.listen=",
        "socketio.listen=[::1]:2120",
        "socketio.path=/socket.io",
        "socketio.max_queue=64",
        "socketio.max_payload=2 MiB",
        "socketio.origins=[\"https://a.example\", \"http://b.example:*\"]",
        "http.escape_html=compat",
        "http.request_timeout=1m 30s",
        "presence.text=a = b",
        "log.level=info,campanile=debug",
    ]));
    let config = config.expect("it is sound");
    assert_eq!(config.http.listen, Some(([0, 0, 0, 0], 8080).into()));
    assert_eq!(config.web.listen, None);
    assert_eq!(
        config.socketio.listen,
        Some("[::1]:2120".parse().expect("an address"))
    );
    assert_eq!(config.socketio.path, "/socket.io");
    assert_eq!(config.socketio.max_queue, 64);
    assert_eq!(config.socketio.max_payload, bytesize::ByteSize::mib(2));
    assert_eq!(
        config.socketio.origins,
        ["https://a.example", "http://b.example:*"]
    );
    assert_eq!(config.http.escape_html, EscapeHtml::Compat);
    assert_eq!(config.http.request_timeout, Duration::from_secs(90));
    assert_eq!(config.presence.text, "a = b");
    for (text, escape) in [("true", EscapeHtml::Modern), ("false", EscapeHtml::Off)] {
        let config = load(&flags(&[&format!("http.escape_html={text}")]));
        assert_eq!(config.expect("it is sound").http.escape_html, escape);
    }
}

/// Settings that are wrong, with the words that the message has to have.
const WRONG: [(&str, &str, &[&str]); 25] = [
    (
        "http.listn",
        "\"127.0.0.1:1\"",
        &["http.listn", "unknown key", "listen"],
    ),
    (
        "htttp.listen",
        "\"127.0.0.1:1\"",
        &["htttp", "sections are", "http", "socketio"],
    ),
    (
        "http.listen",
        "\"here\"",
        &["http.listen", "here", "an address with a port"],
    ),
    (
        "http.listen",
        "\"127.0.0.1\"",
        &["http.listen", "127.0.0.1", "an address with a port"],
    ),
    ("http.listen", "2121", &["http.listen", "2121"]),
    (
        "http.request_timeout",
        "30",
        &["http.request_timeout", "30"],
    ),
    (
        "http.request_timeout",
        "\"30\"",
        &["http.request_timeout", "30", "with its unit"],
    ),
    (
        "http.request_timeout",
        "\"0s\"",
        &["http.request_timeout", "0s", "longer than zero"],
    ),
    (
        "http.escape_html",
        "\"yes\"",
        &["http.escape_html", "yes", "compat"],
    ),
    ("http.escape_html", "1", &["http.escape_html", "compat"]),
    (
        "http.max_body",
        "\"0\"",
        &["http.max_body", "at least 1 byte"],
    ),
    ("http.max_body", "\"much\"", &["http.max_body", "much"]),
    (
        "socketio.max_payload",
        "\"1 B\"",
        &["socketio.max_payload", "1 B", "at least 1 KiB"],
    ),
    (
        "socketio.max_queue",
        "31",
        &["socketio.max_queue", "31", "from 32 to 65536"],
    ),
    (
        "socketio.max_queue",
        "70000",
        &["socketio.max_queue", "70000", "from 32 to 65536"],
    ),
    ("socketio.max_queue", "-1", &["socketio.max_queue", "-1"]),
    (
        "socketio.max_queue",
        "\"many\"",
        &["socketio.max_queue", "many"],
    ),
    (
        "socketio.path",
        "\"\"",
        &["socketio.path", "start with a slash"],
    ),
    (
        "socketio.path",
        "\"x\"",
        &["socketio.path", "x", "start with a slash"],
    ),
    (
        "socketio.origins",
        "[\"example.com\"]",
        &["socketio.origins", "example.com", "://"],
    ),
    ("socketio.origins", "[1]", &["socketio.origins", "1"]),
    (
        "socketio.push_to_sid",
        "\"maybe\"",
        &["socketio.push_to_sid", "maybe"],
    ),
    (
        "presence.interval",
        "\"0s\"",
        &["presence.interval", "0s", "longer than zero"],
    ),
    (
        "log.level",
        "\"campanile=loud\"",
        &["log.level", "campanile=loud", "info"],
    ),
    (
        "log.format",
        "\"xml\"",
        &["log.format", "xml", "pretty", "json"],
    ),
];

fn says(sources: &Sources, words: &[&str]) {
    let error = load(sources).expect_err("it is wrong");
    let message = error.to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message:?}");
    }
}

#[test]
fn a_mistake_in_the_file_is_told_with_key_value_and_file() {
    for (setting, value, words) in WRONG {
        let (section, key) = setting.split_once('.').expect("section.key");
        let (_folder, path) = file(&format!("[{section}]\n{key} = {value}\n"));
        let origin = format!("(in {})", path.display());
        says(&from_file(path), &[words, &[&origin]].concat());
    }
}

#[test]
fn a_mistake_in_the_environment_is_told_with_key_value_and_variable() {
    for (setting, value, words) in WRONG {
        let name = format!("CAMPANILE_{}", setting.replace('.', "__").to_uppercase());
        let sources = Sources {
            environment: vec![variable(&name, value.trim_matches('"'))],
            ..Sources::default()
        };
        let origin = format!("(from the environment variable {name})");
        says(&sources, &[words, &[&origin]].concat());
    }
}

#[test]
fn a_mistake_in_a_flag_is_told_with_key_value_and_flag() {
    for (setting, value, words) in WRONG {
        let flag = format!("{setting}={}", value.trim_matches('"'));
        says(&flags(&[&flag]), &[words, &["(from --set)"]].concat());
    }
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    says(&flags(&["log.level=loud"]), &["log.level", "loud", "info"]);
}

#[test]
fn a_contradiction_names_the_key_that_came_second() {
    let sources = flags(&["http.listen=127.0.0.1:7", "web.listen=127.0.0.1:7"]);
    says(
        &sources,
        &[
            "web.listen",
            "127.0.0.1:7",
            "http.listen too",
            "(from --set)",
        ],
    );
}

#[test]
fn the_last_to_set_a_key_is_blamed() {
    let (_folder, path) = file("[socketio]\nmax_queue = 1\n");
    let sources = Sources {
        file: Some(path),
        environment: vec![variable("CAMPANILE_SOCKETIO__MAX_QUEUE", "2")],
        flags: vec![],
    };
    says(
        &sources,
        &["socketio.max_queue = 2", "CAMPANILE_SOCKETIO__MAX_QUEUE"],
    );
}

#[test]
fn what_is_no_configuration_at_all_is_told_too() {
    let (_folder, path) = file("[http]\nlisten = = 1\n");
    says(&from_file(path), &["campanile.toml", "line 2"]);
    let (_folder, path) = file("listen = \"127.0.0.1:1\"\n");
    says(&from_file(path), &["listen", "sections are"]);
    let missing = load(&from_file("no/such/file.toml".into())).expect_err("it is not there");
    assert!(missing.to_string().contains("no/such/file.toml"));
    assert!(missing.source().is_some(), "the cause is told");
    for flag in ["http.listen", "listen=1", "=", ""] {
        says(&flags(&[flag]), &["--set", "section.key=value"]);
    }
}

#[tokio::test]
async fn the_program_prints_the_example() {
    let output = output_of(campanile(&["config"])).await;
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).expect("it is text"),
        EXAMPLE
    );
}

#[tokio::test]
async fn the_program_checks_a_configuration() {
    let sound = output_of(campanile(&["check-config", "--set", "web.listen="])).await;
    assert!(sound.status.success());
    let said = String::from_utf8(sound.stdout).expect("it is text");
    for line in [
        "socketio: 0.0.0.0:2120",
        "http: 127.0.0.1:2121",
        "web: off",
        "is sound",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let wrong = output_of(campanile(&["check-config", "--set", "http.listen=here"])).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stdout.is_empty());
    let said = String::from_utf8(wrong.stderr).expect("it is text");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("campanile: http.listen = \"here\" (from --set): "),
        "{said}"
    );
}

#[tokio::test]
async fn a_variable_of_the_process_is_read() {
    let mut command = campanile(&["check-config"]);
    command.env("CAMPANILE_WEB__LISTEN", "127.0.0.1:7777");
    let output = output_of(command).await;
    let said = String::from_utf8(output.stdout).expect("it is text");
    assert!(said.contains("web: 127.0.0.1:7777"), "{said}");
}

#[tokio::test]
async fn a_port_in_use_is_told_with_its_key_and_address() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it has an address").to_string();
    for key in ["socketio.listen", "http.listen", "web.listen"] {
        let mut arguments = Vec::new();
        for listener in ["socketio.listen", "http.listen", "web.listen"] {
            let address = if listener == key {
                &address
            } else {
                "127.0.0.1:0"
            };
            arguments.extend(["--set".to_owned(), format!("{listener}={address}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = output_of(campanile(&arguments)).await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).expect("it is text");
        let expected = format!("campanile: cannot open {key} = {address}: ");
        assert!(said.contains(&expected), "{said}");
    }
}
