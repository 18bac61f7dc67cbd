//! Real nginx in front, set up as `packaging/nginx.conf` says: pages and pushes go through it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use campanile::config::Trusted;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::harness::http::Http;
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::{Server, eventually};

/// What nginx is told. It stands in the repository for those who set one up.
const SNIPPET: &str = include_str!("../../packaging/nginx.conf");

/// An nginx of the test's own. It ends with the test.
#[derive(Debug)]
struct Nginx {
    _child: Child,
    _folder: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Brings pages to `pages`, as nginx writes it, and pushes to `push`.
    async fn start(pages: &str, push: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, whole(folder.path(), address, pages, push)).expect("written");
        let child = Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&config)
            .args(["-e", "stderr", "-g", "daemon off; master_process off;"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed");
        eventually("nginx to listen", async || {
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        Self {
            _child: child,
            _folder: folder,
            address,
        }
    }
}

/// The snippet, with the test's own addresses, in what a whole configuration has around it.
fn whole(folder: &Path, address: SocketAddr, pages: &str, push: SocketAddr) -> String {
    let mut snippet = SNIPPET.to_owned();
    for (said, here) in [
        ("listen 80;", format!("listen {address};")),
        ("unix:/run/campanile/pages.sock", pages.to_owned()),
        ("server 127.0.0.1:2121;", format!("server {push};")),
    ] {
        assert!(snippet.contains(said), "{said} is not in the snippet");
        snippet = snippet.replace(said, &here);
    }
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("{kind}_temp_path {folder}/{kind};"));
    let temporary = temporary.join("\n");
    format!(
        "pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\n{snippet}\n}}\n"
    )
}

/// A port that was free a moment ago; nginx takes no port 0.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has an address")
}

/// A server with a Unix socket for pages, that trusts whoever comes by it and from this machine.
fn server(socket: &Path) -> Server {
    Server::start_with(|config| {
        let trusted = ["unix", "127.0.0.1"].map(str::parse::<Trusted>);
        config.proxy.trusted = trusted.map(|trusted| trusted.expect("a proxy")).into();
        config.socketio.unix = socket.to_owned();
        config.recovery.window = Duration::from_secs(120);
    })
}

async fn pushes(nginx: &Nginx, content: &str) -> String {
    let mut http = Http::open(nginx.address).await;
    let form = format!("type=publish&to=alice&content={content}");
    let form_type = "application/x-www-form-urlencoded";
    http.post("/push", form_type, form.as_bytes()).await;
    http.answer().await.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_pushes_go_through_nginx_to_the_unix_socket_and_the_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pages.sock");
    let server = server(&socket);
    let by_unix = Nginx::start(&format!("unix:{}", socket.display()), server.http()).await;
    let by_port = Nginx::start(&server.socketio().to_string(), server.http()).await;
    for nginx in [&by_unix, &by_port] {
        for dialect in DIALECTS {
            let mut page = Page::connect(nginx.address, dialect).await;
            page.logs_in("alice").await;
            let long = "x".repeat(500_000);
            for content in ["hi", &long] {
                assert_eq!(pushes(nginx, content).await, "ok");
                page.receives(content).await;
            }
            page.leaves().await;
            server.waits_until_offline("alice").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nginx_loses_comes_back_to_what_it_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pages.sock");
    let server = server(&socket);
    let nginx = Nginx::start(&format!("unix:{}", socket.display()), server.http()).await;
    for dialect in [EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let mut page = Page::connect(nginx.address, dialect).await;
        page.logs_in("alice").await;
        assert_eq!(pushes(&nginx, "heard").await, "ok");
        page.receives("heard").await;
        page.resets();
        server.waits_until_offline("alice").await;
        assert_eq!(pushes(&nginx, "missed").await, "offline");
        let mut page = Page::connect(nginx.address, dialect).await;
        page.logs_in_with(r#""alice""#).await;
        while page.next_message().await != "missed" {}
        assert_eq!(pushes(&nginx, "now").await, "ok");
        page.receives("now").await;
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
}
