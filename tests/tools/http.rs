//! `sluice send --http` against a gateway that follows a script; `sluice bench --http` against the real one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};

use super::{Owned, PATIENCE, lines, sluice, until};

/// Reads one request: its target and its body.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let (mut target, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if let Some(rest) = line.strip_prefix("POST ") {
            target = rest.split(' ').next().unwrap().to_owned();
        } else if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim_end().parse().unwrap();
        } else if line == "\r\n" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            return Some((target, String::from_utf8(body).unwrap()));
        }
    }
}

/// A gateway that gives each request the next answer, `None` for hanging up; what it was asked, at its end.
fn gateway(answers: Vec<Option<(u16, &'static str)>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut answers, mut asked) = (answers.into_iter(), Vec::new());
        while answers.len() > 0 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some((target, body)) = request(&mut reader) {
                asked.push(format!("{target} {}", body.replace('\n', "|")));
                let Some(Some((status, body))) = answers.next() else { break };
                let head = format!(
                    "HTTP/1.1 {status} X\r\nRetry-After: 0\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all((head + body).as_bytes()).unwrap();
            }
        }
        asked
    });
    (address, thread)
}

fn send(address: &str, options: &[&str], input: &str) -> Output {
    let mut command = sluice(&["send", "--http", address, "--pipeline", "1"]);
    command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

const FULL: &str = r#"{"code":"overloaded","outcome":"not_stored"}"#;

#[test]
fn send_tries_again_what_was_not_stored_and_tells_the_rest() {
    let (address, asked) = gateway(vec![
        Some((200, "{}")),
        Some((503, FULL)),
        Some((200, "{}")),
        Some((400, r#"{"code":"body_not_json","detail":"it is not JSON"}"#)),
        Some((504, r#"{"code":"TIMEOUT","detail":"no word","outcome":"unknown"}"#)),
    ]);
    let output = send(&address, &[], "{\"n\":1}\n\n{\"n\":2}\n{\"n\":3\n{\"n\":4}");
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "line 4: rejected body_not_json it is not JSON\nline 5: unknown TIMEOUT no word\n\
        sluice send: lines=4 stored=2 rejected=1 not_stored=0 unknown=1 resent=1\n";
    assert_eq!((output.status.code(), said.as_str()), (Some(1), expected));
    let target = "/events?ack=delivered";
    let bodies = ["{\"n\":1}", "{\"n\":2}", "{\"n\":2}", "{\"n\":3", "{\"n\":4}"];
    assert_eq!(asked.join().unwrap(), bodies.map(|body| format!("{target} {body}")));
}

#[test]
fn send_takes_batches_apart_and_outlives_a_broken_connection() {
    let items = r#"{"items":[{"index":0,"status":200},{"index":1,"status":503,"outcome":"not_stored"}]}"#;
    let again = r#"{"items":[{"index":0,"status":200}]}"#;
    let (address, asked) = gateway(vec![None, Some((207, items)), Some((200, again))]);
    let url = format!("http://{address}/api/v1/events");
    let output = send(&url, &["--batch", "2", "--resend-unknown"], "1\n2\n");
    let said = String::from_utf8(output.stderr).unwrap();
    let sums = "sluice send: lines=2 stored=2 rejected=0 not_stored=0 unknown=0 resent=";
    assert!(output.status.success() && said.starts_with(sums), "{said}");
    let asked = asked.join().unwrap();
    assert_eq!(asked.last().unwrap(), "/api/v1/events?ack=delivered 2");
    assert!(asked.iter().all(|request| request.starts_with("/api/v1/events?ack=delivered ")), "{asked:?}");
}

#[test]
fn send_refuses_what_it_cannot_speak_to() {
    for (target, code) in [("https://localhost", 2), ("localhost:1/x?ack=none", 2), ("127.0.0.1:1", 1)] {
        assert_eq!(send(target, &[], "").status.code(), Some(code), "{target}");
    }
}

/// The real gateway takes a load in each of the tool's manners, and every event is accounted for.
#[cfg(feature = "http")]
#[test]
fn bench_accounts_for_every_event_over_http() {
    let mut command = sluice(&["serve"]);
    for name in ["GATEWAY_LISTEN_PORT", "HEALTH_PORT", "HTTP_PORT"] {
        command.env(name, "0");
    }
    command.env("KAFKA_BOOTSTRAP_SERVERS", "embedded").env("GATEWAY_LISTEN_ADDR", "127.0.0.1");
    let mut gateway = Owned(command.stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(gateway.0.stderr.take().unwrap());
    let (put, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| drop(put.send(line))));
    let start = until("gateway.start", || said.try_iter().find(|line| line.contains("gateway.start")));
    let port = |name: &str| {
        let rest = start.split_once(&format!(" {name}=")).expect(&start).1;
        rest.split(' ').next().unwrap().to_owned()
    };
    let (http, health) = (port("http"), port("health"));
    let pid = gateway.0.id().to_string();
    let common =
        ["bench", "--http", "--addr", &http, "--health", &health, "-c", "4", "--pid", &pid, "--json"];
    let run = |options: &[&str]| {
        let output = sluice(&common).args(options).output().unwrap();
        lines(&output).remove(0)
    };
    for (options, requests, status, sent) in [
        (&["-n", "501", "--pipeline", "8", "--ack", "queued"][..], 501, "202", 501),
        (&["-n", "1001", "--batch", "100", "--ack", "delivered"], 11, "200", 1100),
        (&["-n", "50", "-r", "500", "--path", "/api/v1/events"], 50, "200", 50),
    ] {
        let report = run(options);
        let answers = &report["answers"];
        assert_eq!((&report["requests"], &report["complete"]), (&requests.into(), &true.into()), "{report}");
        assert_eq!((&answers["statuses"][status], &answers["accepted"]), (&requests.into(), &sent.into()));
        assert_eq!(
            (&report["outcomes"]["stored"], &report["sent"]),
            (&sent.into(), &sent.into()),
            "{report}"
        );
        assert!(report["gateway"]["cpu_ns_per_request"].as_u64().unwrap() > 0);
        let quantiles = &answers["latency_ms"];
        assert!(quantiles["p50"].as_f64().unwrap() <= quantiles["max"].as_f64().unwrap(), "{report}");
    }
}
