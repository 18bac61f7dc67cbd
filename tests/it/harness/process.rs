//! The released program, started as a user starts it.

use std::net::SocketAddr;
use std::process::{ExitStatus, Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::harness::within;

/// The program with these arguments and none of the test's `CAMPANILE_` variables.
pub(crate) fn campanile(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAMPANILE_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .kill_on_drop(true)
        .stdin(Stdio::null());
    command
}

/// The same, with at most so many open files.
pub(crate) fn campanile_with_files(files: u32, arguments: &[&str]) -> Command {
    let plain = campanile(arguments);
    let plain = plain.as_std();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -n {files}; exec \"$0\" \"$@\""))
        .arg(plain.get_program())
        .args(plain.get_args())
        .kill_on_drop(true)
        .stdin(Stdio::null());
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub(crate) async fn output_of(mut command: Command) -> Output {
    let what = format!("{:?}", command.as_std());
    let output = within(&what, command.kill_on_drop(true).output()).await;
    output.unwrap_or_else(|e| panic!("cannot run {what}: {e}"))
}

/// A server in a process of its own.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    /// What it logged before it listened.
    early: Vec<String>,
    pub(crate) socketio: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Process {
    /// Starts it on these addresses and waits until it listens.
    pub(crate) async fn start(socketio: &str, http: &str, more: &[&str]) -> Self {
        Self::start_by(campanile, (socketio, http), more).await
    }

    /// The same, by a command that `make` gives for the arguments.
    pub(crate) async fn start_by(
        make: impl FnOnce(&[&str]) -> Command,
        (socketio, http): (&str, &str),
        more: &[&str],
    ) -> Self {
        let (socketio, http) = (
            format!("socketio.listen={socketio}"),
            format!("http.listen={http}"),
        );
        let settings = [
            &socketio,
            &http,
            "web.listen=",
            "admin.listen=",
            "log.format=json",
            "store.url=",
            "shutdown.drain=0s",
        ];
        let settings = settings.into_iter().chain(more.iter().copied());
        let arguments: Vec<&str> = settings.flat_map(|setting| ["--set", setting]).collect();
        let mut command = make(&arguments);
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("it is piped");
        let mut log = BufReader::new(stderr).lines();
        let mut early = Vec::new();
        let listens = next_line(&mut log, "listening", "socketio", &mut early);
        let socketio = address(&within("the server to listen", listens).await);
        let http = logged_address(&mut log, "http").await;
        Self {
            child,
            log,
            early,
            socketio,
            http,
        }
    }

    /// Whether it logged this message before it listened.
    pub(crate) fn logged_early(&self, message: &str) -> bool {
        self.early.iter().any(|line| line.contains(message))
    }

    /// Where a listener is that is told of after `http`. Ask in the order of the log.
    pub(crate) async fn listens(&mut self, listener: &str) -> SocketAddr {
        logged_address(&mut self.log, listener).await
    }

    /// Ends it as the kernel or a power cut would: at once, without a word.
    pub(crate) async fn is_killed(&mut self) {
        self.child.kill().await.expect("it is our child");
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("the process runs").to_string();
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s \"$0\" \"$1\"", name, &id]);
        assert!(output_of(kill).await.status.success());
    }

    /// Waits until the log has this message.
    pub(crate) async fn logs(&mut self, message: &str) {
        within(
            message,
            next_line(&mut self.log, message, "", &mut Vec::new()),
        )
        .await;
    }

    /// What it logs, from where the log was read last, until it ends.
    pub(crate) async fn log_till_the_end(&mut self) -> String {
        let reading = async {
            let mut told = String::new();
            while let Some(line) = self.log.next_line().await.expect("the log is text") {
                told.push_str(&line);
                told.push('\n');
            }
            told
        };
        within("the end of the log", reading).await
    }

    /// How many times it has logged this message, from where the log was read last, when it ends.
    pub(crate) async fn logged_till_the_end(&mut self, message: &str) -> usize {
        let counting = async {
            let mut times = 0;
            while let Some(line) = self.log.next_line().await.expect("the log is text") {
                times += usize::from(line.contains(message));
            }
            times
        };
        within("the end of the log", counting).await
    }

    /// Ends it in good order. Gives what it has logged that a healthy run has not: errors, and
    /// panics, which are no line of the log.
    pub(crate) async fn faults_till_the_end(&mut self) -> Vec<String> {
        self.signal("TERM").await;
        let reading = async {
            let mut faults = Vec::new();
            while let Some(line) = self.log.next_line().await.expect("the log is text") {
                if line.contains(r#""level":"ERROR""#) || !line.starts_with('{') {
                    faults.push(line);
                }
            }
            faults
        };
        within("the end of the log", reading).await
    }

    /// What it logs while `work` is done, and what comes of that.
    pub(crate) async fn logs_during<F: Future>(&mut self, work: F) -> (F::Output, Vec<String>) {
        let mut lines = Vec::new();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                line = self.log.next_line() => {
                    let line = line.expect("the log is text");
                    lines.push(line.expect("the process runs"));
                }
                output = &mut work => return (output, lines),
            }
        }
    }

    /// Ends it in good order. Gives every line that it has logged, from where the log was read last.
    pub(crate) async fn lines_till_the_end(&mut self) -> Vec<String> {
        self.signal("TERM").await;
        let reading = async {
            let mut lines = Vec::new();
            while let Some(line) = self.log.next_line().await.expect("the log is text") {
                lines.push(line);
            }
            lines
        };
        within("the end of the log", reading).await
    }

    /// How much memory it has, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let id = self.child.id().expect("the process runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status"));
        let status = status.expect("the process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024
    }

    /// Waits until the process has ended.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let ended = within("the end of the process", self.child.wait()).await;
        ended.expect("it is our child")
    }
}

async fn logged_address(log: &mut Lines<BufReader<ChildStderr>>, listener: &str) -> SocketAddr {
    let line = within(
        "the server to listen",
        next_line(log, "listening", listener, &mut Vec::new()),
    )
    .await;
    address(&line)
}

fn address(line: &Value) -> SocketAddr {
    let address = line["address"].as_str().expect("the line has the address");
    address.parse().expect("it is an address")
}

/// The next line with this message, of this listener; what comes before it goes to `passed`.
async fn next_line(
    log: &mut Lines<BufReader<ChildStderr>>,
    message: &str,
    listener: &str,
    passed: &mut Vec<String>,
) -> Value {
    while let Some(line) = log.next_line().await.expect("the log is text") {
        let fields: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("logged {line}"));
        let listener_fits = listener.is_empty() || fields["listener"] == listener;
        if fields["message"] == message && listener_fits {
            return fields;
        }
        passed.push(line);
    }
    panic!("the process ended without logging {message:?}")
}
