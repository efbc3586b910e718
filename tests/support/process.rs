//! A `sluice serve` process under test: started on free ports, spoken to over loopback, ended with the test.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use super::http::Http;
use super::lines::Lines;
use super::{PATIENCE, eventually, eventually_some};

/// What a child keeps of the test's own environment: nothing that configures Sluice.
const KEPT: [&str; 6] = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "ASAN_OPTIONS"];

pub struct Sluice {
    child: Child,
    log: Lines,
    listen: Option<SocketAddr>,
    health: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

/// A command of the binary under test that sees `env` and none of the test's own settings.
pub fn command(arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(arguments).env_clear();
    command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(env.iter().copied());
    command
}

impl Sluice {
    /// Starts `sluice serve` with `env` on top of free loopback ports, and waits until it listens. It may not be
    /// ready yet: see [`Sluice::await_ready`].
    ///
    /// # Panics
    /// When it ends, or says nothing of `gateway.start`.
    pub fn start(env: &[(&str, &str)]) -> Sluice {
        let mut sluice = Sluice::spawn(env);
        let line = sluice.await_log("gateway.start");
        sluice.listen = field(&line, "listen").and_then(|address| address.parse().ok());
        sluice.http = field(&line, "http").and_then(|address| address.parse().ok());
        sluice.health = field(&line, "health").and_then(|address| address.parse().ok());
        sluice.http = field(&line, "http").and_then(|address| address.parse().ok());
        sluice
    }

    /// Starts it without waiting for anything: for configurations that it must refuse.
    pub fn spawn(env: &[(&str, &str)]) -> Sluice {
        let defaults = [
            ("GATEWAY_LISTEN_ADDR", "127.0.0.1"),
            ("GATEWAY_LISTEN_PORT", "0"),
            ("HTTP_PORT", "off"),
            ("HEALTH_PORT", "0"),
        ];
        let mut child = command(&["serve"], &[&defaults, env].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let log = Lines::of(child.stderr.take().unwrap());
        Sluice { child, log, listen: None, health: None, http: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it takes lines.
    pub fn listen(&self) -> SocketAddr {
        self.listen.expect("gateway.start named its listen= address")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listen()).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Where it takes HTTP requests.
    pub fn http_address(&self) -> SocketAddr {
        self.http.expect("gateway.start named its http= address")
    }

    /// A connection to its HTTP listener.
    pub fn http(&self) -> Http {
        Http::connect(self.http_address())
    }

    /// Status and body of the answer to one request with this body.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream =
            TcpStream::connect(self.http.expect("an HTTP listener")).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .expect("the gateway takes the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the gateway answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Sends the lines over a connection of their own, and closes it.
    pub fn send_lines(&self, lines: &[impl AsRef<str>]) {
        let mut text = String::new();
        for line in lines {
            text.push_str(line.as_ref());
            text.push('\n');
        }
        self.connect().write_all(text.as_bytes()).expect("the gateway takes the lines");
    }

    /// Status and body of `GET path` on the health port; status 0 when nobody answers there.
    pub fn get(&self, path: &str) -> (u16, String) {
        let health = self.health.expect("gateway.start named its health= address");
        http_get(health, path).unwrap_or_default()
    }

    /// The samples of `/metrics`, by name with labels as written.
    pub fn metrics(&self) -> HashMap<String, f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "/metrics answered:\n{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        samples.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect()
    }

    /// One sample, 0 when it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        self.metrics().get(name).copied().unwrap_or(0.0)
    }

    /// Waits until `/ready` answers 200.
    #[track_caller]
    pub fn await_ready(&self) {
        eventually(PATIENCE, "/ready answers 200", || self.get("/ready").0 == 200);
    }

    /// Resident memory in KiB, as the kernel counts it.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says VmRSS");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends a signal by number, such as `signal_hook::consts::SIGTERM`.
    pub fn signal(&self, signal: i32) {
        let kill = format!("kill -{signal} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill} failed");
    }

    /// Waits for its end: the exit code (128 + number after a signal, as a shell counts) and the numbers of its last
    /// line, `gateway.stop`; the map is empty when the last line is another.
    #[track_caller]
    pub fn wait(self) -> (i32, HashMap<String, u64>) {
        let (code, numbers, _) = self.wait_with_log();
        (code, numbers)
    }

    /// The same, with all lines of its log.
    #[track_caller]
    pub fn wait_with_log(mut self) -> (i32, HashMap<String, u64>, Vec<String>) {
        let child = &mut self.child;
        let status =
            eventually_some(2 * PATIENCE, "sluice serve ends", || child.try_wait().expect("our child"));
        self.log.join();
        let log = self.log.all();
        let numbers = log.last().map(|last| stop_line(last)).unwrap_or_default();
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        (code.expect("a process ends by code or signal"), numbers, log)
    }

    /// Its log so far, line by line.
    pub fn logs(&self) -> Vec<String> {
        self.log.all()
    }

    /// Waits for a log line that contains `needle`, and returns it.
    #[track_caller]
    pub fn await_log(&self, needle: &str) -> String {
        let found = self.log.find(0, PATIENCE, |line| line.contains(needle));
        found.unwrap_or_else(|| panic!("no {needle:?} in the log")).1
    }
}

/// A failing test shows what the gateway said; no process outlives its test.
impl Drop for Sluice {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.join();
        if std::thread::panicking() {
            let lines = self.log.all();
            eprintln!(
                "the end of the gateway's log:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

/// The value of a field in a log line, as logfmt (`name=value`) or JSON (`"name":"value"`).
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let logfmt = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    logfmt.or_else(|| line.split_once(&format!("\"{name}\":\""))?.1.split('"').next())
}

/// The numbers of a `gateway.stop` line.
fn stop_line(line: &str) -> HashMap<String, u64> {
    let Some((_, numbers)) = line.split_once("gateway.stop") else { return HashMap::new() };
    let pairs = numbers.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// `name{labels} value`; label values may hold spaces, the value does not.
fn sample(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.rsplit_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}

fn http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
