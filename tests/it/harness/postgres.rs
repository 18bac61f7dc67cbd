//! A real PostgreSQL server of the test's own, in a folder of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::harness::eventually;

/// The server. It ends, and its folder goes, when this is dropped.
#[derive(Debug)]
pub(crate) struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// Creates an empty database and starts a server for it.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        if let Some(user) = user() {
            let id = |flag| stdout_of(Command::new("id").args([flag, user]));
            let number = |flag| id(flag).trim().parse().expect("an id is a number");
            chown(folder.path(), Some(number("-u")), Some(number("-g")))
                .expect("root may give a folder away");
        }
        let programs = programs();
        let mut initdb = command(&programs.join("initdb"));
        initdb.args(["--no-sync", "--auth=trust", "--username=campanile"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--pgdata"]);
        stdout_of(initdb.arg(folder.path().join("data")));
        let mut postgres = Self {
            folder,
            programs,
            port: 0,
            server: None,
        };
        // Another process may take the port that was free a moment ago.
        while postgres.server.is_none() {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
            postgres.port = free.local_addr().expect("it is bound").port();
            drop(free);
            postgres.try_restart().await;
        }
        postgres
    }

    /// Where it is, for one that takes `password` along.
    pub(crate) fn url_with(&self, password: &str) -> String {
        let port = self.port;
        format!("postgres://campanile:{password}@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.url_with("")
    }

    /// A connection that is nobody else's.
    pub(crate) async fn connect(&self) -> PgConnection {
        let connection = PgConnection::connect(&self.url()).await;
        connection.expect("the server takes connections")
    }

    /// Stops it at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let id = server.id().to_string();
        let told = Command::new("sh")
            .args(["-c", "kill -s QUIT \"$0\"", &id])
            .status();
        // A server that cannot be told is killed; its own processes notice that and end.
        if !told.is_ok_and(|status| status.success()) {
            let _ = server.kill();
        }
        let _ = server.wait();
    }

    /// Starts it again, where it was.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        self.try_restart().await;
        assert!(self.server.is_some(), "the server ended: {}", self.log());
    }

    /// Starts it and waits until it takes connections, or has ended.
    async fn try_restart(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).expect("a file can be made");
        let mut server = command(&self.programs.join("postgres"))
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-p", &self.port.to_string()])
            .stderr(log)
            .spawn()
            .expect("PostgreSQL starts");
        let url = self.url();
        let mut ended = false;
        eventually("PostgreSQL to take connections", || {
            ended = server.try_wait().expect("it is our child").is_some();
            let (ended, url) = (ended, url.as_str());
            async move { ended || PgConnection::connect(url).await.is_ok() }
        })
        .await;
        self.server = (!ended).then_some(server);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of PostgreSQL's programs, the newest when there are several.
fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<(u32, PathBuf)> = installed
        .flatten()
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path).map(|folder| (0, folder)));
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let complete = |folder: &Path| {
        ["initdb", "postgres"]
            .iter()
            .all(|p| folder.join(p).exists())
    };
    let mut folders = found.into_iter().map(|(_, folder)| folder);
    folders
        .find(|folder| complete(folder))
        .expect("PostgreSQL is needed: install the package postgresql, which has initdb")
}

/// Whom to run as: PostgreSQL refuses to run as root.
fn user() -> Option<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let postgres = Command::new("id").arg("postgres").output();
    let known = postgres.is_ok_and(|output| output.status.success());
    root.then_some(if known { "postgres" } else { "nobody" })
}

/// A program of PostgreSQL's. It replaces the one that changes the user, so its id is the child's.
fn command(program: &Path) -> Command {
    let mut command = match user() {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", &group_of(user)]);
            command.arg("--clear-groups").arg(program);
            command
        }
    };
    // The folder that the test runs in may be closed to that user.
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn group_of(user: &str) -> String {
    let id = stdout_of(Command::new("id").args(["-g", user]));
    id.trim().to_owned()
}

/// Runs a command that must succeed.
fn stdout_of(command: &mut Command) -> String {
    let name = command.get_program().to_owned();
    let output = command.stdout(Stdio::piped()).output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {}: {e}", name.display()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
