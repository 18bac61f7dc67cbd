//! Keys in the configuration: where there has to be one, what is none, and that none is ever shown.

use campanile::config::{Config, Secret};

use crate::harness::http::Http;
use crate::harness::process::{Process, campanile, output_of};
use crate::keys::{ADMIN, BOTH, PUSH, READ, keys};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_port_that_strangers_reach_needs_a_key_or_a_word() {
    for (listener, own) in [
        ("http", None),
        ("text", None),
        ("udp", Some("udp.secret=0123456789abcdef")),
    ] {
        let port = format!("{listener}.listen=0.0.0.0:0");
        let key = format!(r#"api.keys=["push:{PUSH}"]"#);
        let check = async |more: Option<&str>| {
            let mut arguments = vec!["check-config", "--set", &port];
            arguments.extend(more.iter().flat_map(|more| ["--set", *more]));
            output_of(campanile(&arguments)).await
        };
        let refused = check(None).await;
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8(refused.stderr).expect("it is text");
        let begin = format!("campanile: {listener}.listen");
        assert!(said.starts_with(&begin), "{said}");
        assert!(
            said.contains("api.keys") && said.contains("api.allow_open"),
            "{said}"
        );
        for more in [Some(key.as_str()), Some("api.allow_open=true"), own]
            .into_iter()
            .flatten()
        {
            let output = check(Some(more)).await;
            assert!(output.status.success(), "{listener} {more}");
        }
    }
    let wrong = [
        "push",
        "push:short",
        "write:0123456789abcdef",
        ":0123456789abcdef",
    ];
    for key in wrong {
        let setting = format!("api.keys=[{key:?}]");
        let arguments = [
            "--set",
            &setting,
            "--set",
            "socketio.listen=127.0.0.1:0",
            "--set",
            "http.listen=127.0.0.1:0",
            "--set",
            "web.listen=",
            "--set",
            "admin.listen=",
            "--set",
            "store.url=",
        ];
        let output = output_of(campanile(&arguments)).await;
        assert_eq!(output.status.code(), Some(1), "{key}");
        let said = String::from_utf8(output.stderr).expect("it is text");
        assert!(said.contains("api.keys"), "{said}");
        assert!(
            !said.contains("0123456789abcdef") && !said.contains("short:"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_never_shown() {
    let mut config = Config::default();
    keys(&mut config);
    config.udp.secret = Secret::from(PUSH);
    let shown = format!("{config:?} {config:#?}");
    let key = format!(r#"api.keys=["push:{PUSH}"]"#);
    let checked = output_of(campanile(&["check-config", "--set", &key])).await;
    assert!(checked.status.success());
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8(said).expect("it is text");
    for text in [&shown, &said] {
        for key in [PUSH, READ, BOTH, ADMIN] {
            assert!(!text.contains(key), "{text}");
        }
    }
    assert!(shown.contains("***"));
    let more = [
        key.as_str(),
        "log.level=trace",
        "text.listen=127.0.0.1:0",
        "udp.listen=127.0.0.1:0",
        "topic_socket.listen=127.0.0.1:0",
    ];
    let mut process = Process::start("127.0.0.1:0", "127.0.0.1:0", &more).await;
    let wrong = "nothing-of-ours-and-not-told";
    for key in [PUSH, wrong] {
        let mut http = Http::open(process.http).await;
        http.send(format!("GET /?type=publish&to=a&content=b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n")).await;
        http.answer().await;
        let mut http = Http::open(process.http).await;
        http.get(&format!("/?type=publish&to=a&content=b&key={key}"))
            .await;
        http.answer().await;
    }
    process.signal("TERM").await;
    assert!(!process.logged_early(PUSH));
    let told = process.log_till_the_end().await;
    assert!(told.contains("push not taken"), "it is at trace: {told}");
    for key in [PUSH, wrong] {
        assert!(!told.contains(key), "{told}");
    }
}
