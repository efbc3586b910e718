//! The tools as a person runs them: processes, pipes, loopback. `broker` and `tail` against a producer made here;
//! `send`, in a file of its own, against a scripted gateway; both tools over HTTP in another.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use serde_json::Value;
use sluice::event::pb;
use sluice::kafka::reader::{ReadError, read_all, watermark_sum};

#[path = "tools/http.rs"]
mod http;
#[path = "tools/send.rs"]
mod send;

const PATIENCE: Duration = Duration::from_secs(20);

fn sluice(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(args).env_remove("KAFKA_BOOTSTRAP_SERVERS");
    command
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn exit_code(child: &mut Child) -> Option<i32> {
    until("the end of a process", || child.try_wait().unwrap()).code()
}

/// A process that does not outlive its test.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Broker {
    process: Owned,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    servers: String,
}

impl Broker {
    fn start(args: &[&str], stdin: Stdio) -> Self {
        let mut command = sluice(&["broker"]);
        let mut process = Owned(command.args(args).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap());
        let commands = process.0.stdin.take();
        let answers = BufReader::new(process.0.stdout.take().unwrap());
        let mut broker = Self { process, commands, answers, servers: String::new() };
        let first = broker.answer();
        broker.servers = first.strip_prefix("KAFKA_BOOTSTRAP_SERVERS=").expect(&first).to_owned();
        broker
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn tell(&mut self, command: &str) -> String {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        self.answer()
    }

    fn tail(&self, args: &[&str]) -> Output {
        sluice(&["tail", "--brokers", &self.servers]).args(args).output().unwrap()
    }
}

/// Counts what became of the records: stored ones, and the errors of the others.
#[derive(Default)]
struct Outcomes(std::sync::Mutex<(u64, Vec<String>)>);

impl rdkafka::ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut outcomes = self.0.lock().unwrap();
        match result {
            Ok(_) => outcomes.0 += 1,
            Err((KafkaError::MessageProduction(code), _)) => outcomes.1.push(format!("{code:?}")),
            Err((error, _)) => outcomes.1.push(error.to_string()),
        }
    }
}

fn producer(servers: &str) -> BaseProducer<Outcomes> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("linger.ms", "1").set("message.timeout.ms", "15000");
    config.create_with_context(Outcomes::default()).unwrap()
}

fn produce(producer: &BaseProducer<Outcomes>, topic: &str, key: &str, value: &[u8]) {
    producer.send(BaseRecord::to(topic).key(key).payload(value)).map_err(|(error, _)| error).unwrap();
}

fn score(player: &str, score: i64) -> Vec<u8> {
    let (leaderboard_id, player_id) = ("weekly".into(), player.into());
    pb::ScoreUpdate { leaderboard_id, player_id, score, timestamp_ms: 1_700_000_000_000 }.encode_to_vec()
}

/// `count` scores of a hundred players, all stored.
fn fill(servers: &str, topic: &str, count: i64) {
    let producer = producer(servers);
    (0..count).for_each(|n| {
        let player = format!("p{}", n % 100);
        produce(&producer, topic, &player, &score(&player, n));
    });
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.context().0.lock().unwrap().0, count as u64);
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn broker_serves_without_stdin_until_a_signal() {
    for name in ["-TERM", "-INT"] {
        let mut broker = Broker::start(&["--brokers", "2"], Stdio::null());
        assert_eq!(broker.servers.split(',').count(), 2);
        fill(&broker.servers, "score_updates", 10);
        assert!(broker.process.0.try_wait().unwrap().is_none(), "the end of stdin is no reason to end");
        signal(&broker.process.0, name);
        assert_eq!(exit_code(&mut broker.process.0), Some(0));
    }
}

#[test]
fn broker_answers_each_command_with_one_line() {
    let mut broker = Broker::start(&["--brokers", "2", "--partitions", "3"], Stdio::piped());
    for command in [
        "slow 1 20ms",
        "slow all 0s",
        "down 2",
        "up all",
        "topic more 5",
        "refuse produce 19 2",
        "refuse produce _TRANSPORT",
        "accept produce",
        "leader more 4 2",
        "leader more 4 none",
    ] {
        assert_eq!(broker.tell(command), format!("ok {command}"));
    }
    for wrong in [
        "down",
        "down 0",
        "down 9",
        "down -1",
        "slow 1 soon",
        "slow 1 2h",
        "topic more 5",
        "topic a/b 1",
        "topic x 0",
        "refuse produce NOT_AN_ERROR",
        "refuse produce 19 -1",
        "refuse produce 19 99999999999",
        "refuse lunch 19",
        "dance",
    ] {
        let answer = broker.tell(wrong);
        assert!(answer.starts_with("error "), "{wrong}: {answer}");
    }
    assert!(broker.tell("help").starts_with("ok commands: "));
    assert_eq!(broker.tell("servers"), format!("ok {}", broker.servers));
    assert_eq!(broker.tell("quit"), "ok bye");
    assert_eq!(exit_code(&mut broker.process.0), Some(0));
}

#[test]
fn broker_refuses_what_it_is_told_to_and_serves_again() {
    let mut broker = Broker::start(&["--partitions", "1", "--topic", "t"], Stdio::piped());
    let producer = producer(&broker.servers);
    let outcome = |value: &[u8]| {
        produce(&producer, "t", "k", value);
        producer.flush(PATIENCE).unwrap();
        std::mem::take(&mut *producer.context().0.lock().unwrap())
    };
    assert_eq!(outcome(b"1"), (1, vec![]));
    broker.tell("refuse produce MSG_SIZE_TOO_LARGE");
    assert_eq!(outcome(b"2"), (0, vec!["MessageSizeTooLarge".to_owned()]));
    assert_eq!(outcome(b"3"), (1, vec![]));
    broker.tell("refuse produce NOT_ENOUGH_REPLICAS 2"); // librdkafka tries these again by itself
    assert_eq!(outcome(b"4"), (1, vec![]));
    broker.tell("down all");
    produce(&producer, "t", "k", b"5");
    broker.tell("up all");
    producer.flush(PATIENCE).unwrap();
    assert_eq!(watermark_sum(&broker.servers, "t", PATIENCE), Ok(4));
    broker.tell("refuse metadata TOPIC_AUTHORIZATION_FAILED");
    let error = watermark_sum(&broker.servers, "t", PATIENCE).unwrap_err().to_string();
    assert!(error.to_lowercase().contains("authorization failed"), "{error}");
    broker.tell("accept metadata");
    assert_eq!(watermark_sum(&broker.servers, "t", PATIENCE), Ok(4));
}

#[test]
fn tail_prints_every_record_decoded_and_in_order() {
    let broker = Broker::start(&["--partitions", "4", "--topic", "t"], Stdio::null());
    assert_eq!(lines(&broker.tail(&["t", "--until-end"])), Vec::<Value>::new());
    fill(&broker.servers, "t", 5000);
    let all = lines(&broker.tail(&["t", "--until-end"]));
    assert_eq!(all.len(), 5000);
    let mut next = [0; 4];
    let mut scores: Vec<i64> = Vec::new();
    for line in &all {
        let partition = line["partition"].as_u64().unwrap() as usize;
        assert_eq!(line["offset"], next[partition], "in order, none left out");
        next[partition] += 1;
        assert_eq!(line["key"], line["value"]["player"]);
        assert_eq!((&line["topic"], &line["value"]["lb"]), (&"t".into(), &"weekly".into()));
        assert_eq!(line["value"]["ts_ms"], 1_700_000_000_000_i64);
        assert!(line["timestamp_ms"].as_i64().unwrap() > 1_600_000_000_000);
        scores.push(line["value"]["score"].as_i64().unwrap());
    }
    scores.sort_unstable();
    assert_eq!(scores, (0..5000).collect::<Vec<_>>());

    let read = read_all(&broker.servers, "t", PATIENCE).unwrap();
    assert_eq!((read.len(), watermark_sum(&broker.servers, "t", PATIENCE)), (5000, Ok(5000)));
    assert!(read.iter().all(|r| pb::ScoreUpdate::decode(&*r.value).unwrap().player_id.as_bytes() == r.key));
    let places: Vec<_> = read.iter().map(|record| (record.partition, record.offset)).collect();
    assert!(places.is_sorted());
}

#[test]
fn tail_starts_and_stops_where_it_is_told() {
    let broker = Broker::start(&["--partitions", "2", "--topic", "t"], Stdio::null());
    let producer = producer(&broker.servers);
    for n in 0..10 {
        let value = format!("{{\"n\":{n}}}");
        let record = BaseRecord::to("t").partition(n % 2).key("k").payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let found = |args: &[&str]| {
        let output = broker.tail(&[&["t"], args].concat());
        let lines = lines(&output);
        let mut found: Vec<_> = lines.iter().map(|line| line["value"]["n"].as_i64().unwrap()).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(found(&["--until-end", "--from", "3"]), [6, 7, 8, 9]);
    assert_eq!(found(&["--until-end", "--from", "99"]), [0; 0]);
    assert_eq!(found(&["--until-end", "--from", "end"]), [0; 0]);
    assert_eq!(found(&["--until-end", "--partition", "1"]), [1, 3, 5, 7, 9]);
    assert_eq!(found(&["--from", "beginning", "--count", "3", "--partition", "0"]), [0, 2, 4]);
    let raw = broker.tail(&["t", "--raw", "--partition", "0", "--until-end"]).stdout;
    assert_eq!(String::from_utf8(raw).unwrap(), "{\"n\":0}\n{\"n\":2}\n{\"n\":4}\n{\"n\":6}\n{\"n\":8}\n");
}

#[test]
fn tail_says_what_is_wrong() {
    let broker = Broker::start(&["--topic", "t"], Stdio::null());
    let wrong = |args: &[&str]| {
        let output = broker.tail(args);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, why) = wrong(&["t", "--from", "@0"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("cannot look offsets up by time"), "{why}");
    assert_eq!(wrong(&["u"]), (Some(1), "sluice tail: there is no topic `u`\n".into()));
    assert_eq!(wrong(&["u"]).0, Some(1), "asking for it did not create it");
    assert!(wrong(&["t", "--partition", "12"]).1.contains("no partition 12"));
    assert!(wrong(&["t", "--conf", "no.such=1"]).1.contains("no.such"));
    assert_eq!(wrong(&["t", "--from", "then"]).0, Some(2));
    let nobody = sluice(&["tail", "t", "--brokers", "127.0.0.1:1", "--timeout", "300ms"]).output().unwrap();
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no broker answers at 127.0.0.1:1"));
    let nobody = read_all("127.0.0.1:1", "t", Duration::from_millis(300));
    assert_eq!(nobody, Err(ReadError::Unreachable("127.0.0.1:1".into())));
}

#[test]
fn tail_follows_until_a_signal_and_ends_quietly_when_its_reader_goes() {
    let broker = Broker::start(&["--partitions", "1", "--topic", "t"], Stdio::null());
    let producer = producer(&broker.servers);
    let follow = || {
        let args = ["tail", "t", "--brokers", &broker.servers];
        let mut tail = Owned(sluice(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut out = BufReader::new(tail.0.stdout.take().unwrap());
        let seen = std::thread::spawn(move || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            (out, line)
        });
        // It starts at the end, and only it knows when: write until it has seen one.
        until("a line from tail", || {
            produce(&producer, "t", "k", &score("p", 7));
            producer.flush(PATIENCE).unwrap();
            seen.is_finished().then_some(())
        });
        let (out, line) = seen.join().unwrap();
        let value = "\"value\":{\"lb\":\"weekly\",\"player\":\"p\",\"score\":7,\"ts_ms\":1700000000000}}\n";
        assert!(line.ends_with(value), "{line}");
        (tail, out)
    };
    let (mut tail, _out) = follow();
    signal(&tail.0, "-INT");
    assert_eq!(exit_code(&mut tail.0), Some(0));

    let (mut tail, out) = follow();
    drop(out);
    until("the end of tail", || {
        produce(&producer, "t", "k", &score("p", 8));
        tail.0.try_wait().unwrap()
    });
    let mut noise = String::new();
    tail.0.stderr.take().unwrap().read_to_string(&mut noise).unwrap();
    assert_eq!((exit_code(&mut tail.0), noise.as_str()), (Some(0), ""));
}
