//! Runs the real binary as a child process: on ephemeral ports of the loopback interface, with what it prints collected, and never
//! left behind.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::metrics::Scrape;
use crate::{DEADLINE, POLL, send};

/// Most bytes of one stream that are kept; a test prints far less.
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// Flags of the listeners, each given an ephemeral port.
const LISTEN_FLAGS: [&str; 4] = ["--otlp-grpc-listen", "--otlp-http-listen", "--tempo-listen", "--metrics-listen"];

/// A running `pooler-otel serve`. Dropping it kills it.
pub struct Serve {
    child: Child,
    listeners: BTreeMap<String, SocketAddr>,
    stdout: Collected,
    stderr: Collected,
}

impl Serve {
    /// Starts `binary serve` over a data folder, with further arguments, and waits until it is ready.
    ///
    /// # Panics
    /// If it ends, or is not ready in time; what it printed is in the text.
    #[must_use]
    pub fn start(binary: &str, data_dir: &Path, arguments: &[&str]) -> Self {
        Self::start_with(binary, data_dir, arguments, &[])
    }

    /// [`Serve::start`] with variables in its environment.
    ///
    /// # Panics
    /// As [`Serve::start`].
    #[must_use]
    pub fn start_with(binary: &str, data_dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = command(binary);
        command.arg("serve").arg("--data-dir").arg(data_dir).envs(variables.iter().copied());
        for flag in LISTEN_FLAGS {
            command.args([flag, "127.0.0.1:0"]);
        }
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = Collected::of(child.stdout.take().expect("it is piped"));
        let stderr = Collected::of(child.stderr.take().expect("it is piped"));
        let mut serve = Self { child, listeners: BTreeMap::new(), stdout, stderr };
        serve.wait_until_ready();
        serve
    }

    fn wait_until_ready(&mut self) {
        let printed = crate::wait_for("`ready` on standard output", || {
            let printed = self.stdout.text();
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("serve ended with {status} before it was ready\nstdout:\n{printed}\nstderr:\n{}", self.stderr.text());
            }
            printed.lines().any(|line| line == "ready").then_some(printed)
        });
        for line in printed.lines() {
            if let Some((name, address)) = line.strip_prefix("listening ").and_then(|rest| rest.split_once(' ')) {
                self.listeners.insert(name.to_owned(), address.parse().expect("an address after the listener's name"));
            }
        }
    }

    /// The most memory that it has taken so far, in bytes.
    ///
    /// # Panics
    /// Where there is no `/proc`.
    #[must_use]
    pub fn peak_memory_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux says what a process takes");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak of its memory");
        line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// `host:port` of the OTLP/gRPC listener.
    #[must_use]
    pub fn otlp_grpc(&self) -> String {
        self.address("otlp_grpc").to_string()
    }

    /// URL of the OTLP/HTTP listener, without a path.
    #[must_use]
    pub fn otlp_http(&self) -> String {
        format!("http://{}", self.address("otlp_http"))
    }

    /// URL of the Tempo API, without a path.
    #[must_use]
    pub fn tempo(&self) -> String {
        format!("http://{}", self.address("tempo"))
    }

    /// URL of the listener of metrics and health, without a path.
    #[must_use]
    pub fn metrics(&self) -> String {
        format!("http://{}", self.address("metrics"))
    }

    /// The metrics as they are now.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        let reply = send::get(&format!("{}/metrics", self.metrics()));
        assert_eq!(reply.status, 200, "{}", reply.text());
        Scrape::parse(&reply.text())
    }

    /// Waits until no message is in progress, nothing is queued in any branch and every equation of [`Scrape::conservation`] holds: a scrape can come between two counts
    /// of the same record.
    ///
    /// # Panics
    /// With the equations that still do not hold at the deadline.
    pub fn assert_conserved(&self) {
        let start = Instant::now();
        loop {
            let scrape = self.scrape();
            let in_progress = scrape.count("pooler_otel_messages_in_progress", &[]);
            let queued = scrape.count("pooler_otel_branch_queued_records", &[]);
            match scrape.conservation() {
                Ok(()) if in_progress + queued == 0 => return,
                result => {
                    assert!(
                        start.elapsed() < DEADLINE,
                        "{in_progress} messages are in progress, {queued} records queued; {result:?}"
                    );
                }
            }
            std::thread::sleep(POLL);
        }
    }

    /// Everything on standard output.
    ///
    /// # Panics
    /// While it runs.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.whole()
    }

    /// Everything on standard error.
    ///
    /// # Panics
    /// While it runs: what it says about an answer can be read later than the answer. [`Serve::wait_until_said`] waits for it.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.whole()
    }

    /// Waits until it has said this on standard error.
    ///
    /// # Panics
    /// If it does not say it in time.
    pub fn wait_until_said(&self, text: &str) {
        crate::wait_for(&format!("`{text}` on standard error"), || self.stderr.text().contains(text).then_some(()));
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn terminate(&mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).expect("the child is there until it is waited for");
        self.wait()
    }

    /// Sends it a hang-up.
    ///
    /// # Panics
    /// If it has ended.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).expect("the child is there until it is waited for");
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn ended(&mut self) -> ExitStatus {
        self.wait()
    }

    /// Kills it without a warning, as a crash of the machine's kernel would not: what was written to the operating system stays.
    pub fn kill(&mut self) {
        kill_process(self.pid(), Signal::KILL).expect("the child is there until it is waited for");
        self.wait();
    }

    fn wait(&mut self) -> ExitStatus {
        let status = crate::wait_for("the end of serve", || self.child.try_wait().expect("it is our child"));
        self.stdout.finish();
        self.stderr.finish();
        status
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    fn address(&self, listener: &str) -> SocketAddr {
        *self.listeners.get(listener).unwrap_or_else(|| panic!("no line `listening {listener} …` on standard output"))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of serve ---\n{}", self.stderr.text());
        }
    }
}

/// Runs the binary to its end.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn run(binary: &str, arguments: &[&str]) -> Output {
    command(binary).args(arguments).stdin(Stdio::null()).output().expect("the binary starts")
}

/// Runs the binary to its end with variables in its environment, and with this on standard input.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn run_with(binary: &str, arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Output {
    let mut command = command(binary);
    command.args(arguments).envs(variables.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // On a thread, so that neither waits for the other; a binary that reads no further closes its end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it is our child");
    writer.join().expect("the writer does not panic");
    output
}

/// The binary with an empty environment, so that no variable of the machine changes what a test sees.
fn command(binary: &str) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// A stream of a child, read on a thread so that the child never waits for us.
struct Collected {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let mut sink = sink.lock().expect("no one panics while holding it");
                if sink.len() + line.len() <= MAX_OUTPUT_BYTES {
                    sink.push_str(&String::from_utf8_lossy(&line));
                }
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().expect("no one panics while holding it").clone()
    }

    /// The whole stream.
    fn whole(&self) -> String {
        assert!(self.reader.is_none(), "the stream has not ended: what was written last may not have been read");
        self.text()
    }

    /// Waits for the end of the stream, so that nothing printed last is missing.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
    }
}
