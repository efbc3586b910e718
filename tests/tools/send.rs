//! `sluice send` against a gateway that follows a script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread::JoinHandle;

use serde_json::Value;

use super::{Owned, PATIENCE, exit_code, signal, sluice, until};

/// One connection of the scripted gateway.
struct Peer {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Peer {
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.reader.read_line(&mut line).unwrap() > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// The next lines, joined by spaces.
    fn read(&mut self, count: usize) -> String {
        (0..count).map(|_| self.line().expect("a line")).collect::<Vec<_>>().join(" ")
    }

    fn say(&mut self, answers: &str) {
        answers.split(';').for_each(|line| writeln!(self.stream, "{}", line.trim()).unwrap());
    }

    /// The sender half-closes; the account is closed with `last`.
    fn finish(&mut self, last: &str) {
        assert_eq!(self.line(), None, "nothing more was to come");
        self.say(last);
    }
}

type Script = Box<dyn FnOnce(&mut Peer) + Send>;

fn script(play: impl FnOnce(&mut Peer) + Send + 'static) -> Script {
    Box::new(play)
}

/// A gateway that plays one script for each connection, and takes no more connections than that.
fn gateway(scripts: Vec<Script>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    listener.set_nonblocking(true).unwrap();
    let thread = std::thread::spawn(move || {
        for script in scripts {
            let (stream, _) = until("a connection", || listener.accept().ok());
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            script(&mut Peer { reader: BufReader::new(stream.try_clone().unwrap()), stream });
        }
    });
    (address, thread)
}

/// Runs `send` with this input; exit code and stderr.
fn send(scripts: Vec<Script>, args: &[&str], input: &str) -> (Option<i32>, String) {
    let (address, thread) = gateway(scripts);
    let mut command = sluice(&["send", "--addr", &address]);
    let mut child = command.args(args).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    thread.join().expect("the script went as written");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn send_without_ack_passes_bytes_on_and_waits_for_the_close() {
    let all = script(|peer| {
        let mut bytes = Vec::new();
        peer.reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"a\r\n\n#ack\nlast without end");
    });
    let (code, said) = send(vec![all], &[], "a\r\n\n#ack\nlast without end");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("bytes=25 taken; whether each line is stored is not known"), "{said}");
}

#[test]
fn send_without_ack_does_not_take_a_reset_or_silence_for_success() {
    // Closing with unread bytes resets the connection.
    let rude = script(|peer| assert_eq!(peer.stream.peek(&mut [0]).unwrap(), 1));
    let (code, said) = send(vec![rude], &[], "a\nb\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not sure that all were taken"), "{said}");
    let (hang_up, wait) = std::sync::mpsc::channel::<()>();
    let silent = script(move |peer| {
        assert_eq!((peer.read(1).as_str(), peer.line()), ("a", None));
        let _ = wait.recv(); // until the sender is gone
    });
    let (address, thread) = gateway(vec![silent]);
    let mut command = sluice(&["send", "--addr", &address, "--timeout", "200ms"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a\n").unwrap();
    let output = child.wait_with_output().unwrap();
    drop(hang_up);
    thread.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("nothing happened for 200ms"), "{said}");
}

#[test]
fn send_with_ack_succeeds_when_every_line_is_stored() {
    let all = script(|peer| {
        assert_eq!(peer.read(4), "#ack a b c");
        peer.say("+ 2;+ 3");
        peer.finish(". 3");
    });
    let (code, said) = send(vec![all], &["--ack"], "a\n\nb\n#ack\n \nc");
    assert_eq!(said, "sluice send: lines=3 stored=3 rejected=0 not_stored=0 unknown=0 resent=0\n");
    assert_eq!(code, Some(0));
}

#[test]
fn send_lists_what_is_not_stored_by_line_number_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mixed = script(|peer| {
        assert_eq!(peer.read(5), "#ack a b c d");
        peer.say("- 2 fix bad_json expected value at byte 0; ? 3 timed_out; + 4");
        peer.finish(". 4");
    });
    let args = ["--ack", "--max-line-bytes", "5", "--report", report.to_str().unwrap()];
    let (code, said) = send(vec![mixed], &args, "a\n\nb\nc\nmuch too long\nd\n");
    assert_eq!(code, Some(1));
    let expected = [
        "line 3: rejected bad_json expected value at byte 0",
        "line 4: unknown timed_out",
        "line 5: rejected line_too_long 13 bytes",
        "lines=5 stored=2 rejected=2 not_stored=0 unknown=1 resent=0",
    ];
    expected.iter().for_each(|line| assert!(said.contains(line), "{line} in {said}"));
    let text = std::fs::read_to_string(report).unwrap();
    let number = |line: &str| serde_json::from_str::<Value>(line).unwrap()["line"].as_u64().unwrap();
    let mut listed: Vec<u64> = text.lines().map(number).collect();
    listed.sort_unstable();
    assert_eq!(listed, [3, 4, 5]);
}

#[test]
fn send_retries_on_the_same_connection_and_on_the_next() {
    let first = script(|peer| {
        assert_eq!(peer.read(4), "#ack a b c");
        peer.say("- 1 retry not_leader; + 2");
        assert_eq!(peer.read(1), "a");
        peer.say("- 3 retry draining; . 3"); // a was message 4, and is not counted
    });
    let second = script(|peer| {
        assert_eq!(peer.read(3), "#ack a c");
        peer.say("+ 2");
        peer.finish(". 2");
    });
    let (code, said) = send(vec![first, second], &["--ack"], "a\nb\nc\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("lines=3 stored=3") && said.contains("resent=2"), "{said}");
}

#[test]
fn send_does_not_resend_what_may_be_stored_unless_told_to() {
    let breaks = || {
        script(|peer| {
            assert_eq!(peer.read(4), "#ack a b c");
            peer.say("+ 1");
            peer.stream.shutdown(Shutdown::Both).unwrap();
        })
    };
    let (code, said) = send(vec![breaks()], &["--ack"], "a\nb\nc\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("line 2: unknown connection_lost\nline 3: unknown connection_lost"), "{said}");
    let next = script(|peer| {
        assert_eq!(peer.read(3), "#ack b c");
        peer.say("+ 2");
        peer.finish(". 2");
    });
    let (code, said) = send(vec![breaks(), next], &["--ack", "--resend-unknown"], "a\nb\nc\n");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn send_hangs_up_on_a_gateway_that_lies() {
    let endless = "x".repeat(70_000);
    let lies = [
        ("+ 3\n", "answers message 3, but only 2 were sent"),
        ("+ 2\n+ 1\n", "goes back to 1 after 2"),
        ("+ 1\n? 1 x\n", "answers message 1 twice"),
        ("HTTP/1.1 400 Bad Request\r\n", "`HTTP/1.1 400 Bad Request` is no answer"),
        ("+ 99999999999999999999999\n", "is no answer"),
        (&endless, "an answer is longer than"),
    ];
    for (lie, why) in lies {
        let lie = lie.to_owned();
        let liar = script(move |peer| {
            assert_eq!(peer.read(3), "#ack a b");
            // The sender hangs up when it has heard enough.
            drop(peer.stream.write_all(lie.as_bytes()));
            drop(peer.reader.read_line(&mut String::new()));
        });
        let (code, said) = send(vec![liar], &["--ack"], "a\nb\n");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("hung up on the gateway") && said.contains(why), "{why} in {said}");
    }
}

#[test]
fn send_gives_up_on_silence_and_says_so_at_once_when_nobody_listens() {
    let silent = script(|peer| {
        assert_eq!(peer.read(3), "#ack a b");
        assert_eq!(peer.line(), None);
    });
    let (code, said) = send(vec![silent], &["--ack", "--timeout", "300ms"], "a\nb\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("gave up") && said.contains("unknown=2"), "{said}");
    let nobody = sluice(&["send", "--ack", "--addr", "127.0.0.1:1"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    let no_file = sluice(&["send", "/no/such/file"]).output().unwrap();
    assert_eq!(no_file.status.code(), Some(2));
}

#[test]
fn send_stops_at_a_signal_after_following_what_is_on_its_way() {
    let (heard, first_line) = std::sync::mpsc::channel();
    let (signalled, go_on) = std::sync::mpsc::channel::<()>();
    let all = script(move |peer| {
        assert_eq!(peer.read(2), "#ack a");
        heard.send(()).unwrap();
        let _ = go_on.recv();
        peer.say("+ 1");
        peer.finish(". 1");
    });
    let (address, thread) = gateway(vec![all]);
    let mut command = sluice(&["send", "--ack", "--addr", &address]);
    let mut child = Owned(command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut stdin = child.0.stdin.take().unwrap(); // stays open: there would be more to come
    stdin.write_all(b"a\n").unwrap();
    first_line.recv_timeout(PATIENCE).unwrap();
    signal(&child.0, "-INT");
    drop(signalled);
    assert_eq!(exit_code(&mut child.0), Some(1));
    thread.join().unwrap();
    let mut said = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("stored=1") && said.contains("the input was not read to its end"), "{said}");
}

#[test]
fn send_memory_stays_flat_however_long_the_input() {
    let (address, thread) = gateway(vec![script(|peer| {
        assert_eq!(peer.read(1), "#ack");
        let (mut bytes, mut count) = (vec![0; 1 << 16], 0);
        loop {
            let read = peer.reader.read(&mut bytes).unwrap();
            if read == 0 {
                return peer.say(&format!(". {count}"));
            }
            count += bytes[..read].iter().filter(|byte| **byte == b'\n').count();
            peer.say(&format!("+ {count}"));
        }
    })]);
    let mut command = sluice(&["send", "--ack", "--addr", &address]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let block = "{\"lb\":\"weekly\",\"player\":\"player-1\",\"score\":1}\n".repeat(20_000);
    (0..100).for_each(|_| input.write_all(block.as_bytes()).unwrap());
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    thread.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("lines=2000000 stored=2000000"), "{said}");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 24 * 1024, "{peak_kib} KiB for 92 MB of input with a window of 4 MiB");
}
