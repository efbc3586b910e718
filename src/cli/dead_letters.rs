//! `sluice dead-letters`: what lies in DEAD_LETTER_DIR, one letter in full, and sending letters to their topics again.
//!
//! Numbers count all letters of the folder, oldest first, those that were sent again included; they change only when
//! a segment is removed. Safe beside a gateway that writes to the same folder.

mod render;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::event::headers;
use crate::kafka::resend::{Resender, Resent};
use crate::kafka::{Bootstrap, KafkaOptions};
use crate::letters::{self, Letter, Piece, Segment};

use super::{environment, exit, put};

const EXAMPLES: &str = "\
Examples:
  sluice dead-letters list --dir /var/lib/sluice/letters
  sluice dead-letters show 3 --dir /var/lib/sluice/letters
  sluice dead-letters resend --dir /var/lib/sluice/letters --brokers kafka:9092";

/// Letters that are sent before their outcomes are waited for and marked.
const TOGETHER: usize = 500;

/// List, show and send again the events in DEAD_LETTER_DIR.
///
/// They were answered 202, Kafka did not take them, and neither did KAFKA_DLQ_TOPIC.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// The folder; DEAD_LETTER_DIR unless given
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    /// One line a letter: number, time, topic, code, id, bytes
    List {
        /// Those that were sent again as well
        #[arg(long)]
        all: bool,
    },
    /// One letter: headers, key and value
    Show { number: usize },
    /// Send letters to the topics that they were for; what Kafka confirms is marked, and a finished file removed
    Resend {
        /// Only these; unless given all that were not sent again, but for messages refused at the door
        numbers: Vec<usize>,
        /// Brokers, by comma; KAFKA_BOOTSTRAP_SERVERS unless given
        #[arg(long, value_name = "SERVERS")]
        brokers: Option<String>,
        /// How long Kafka may take to confirm a letter
        #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
}

/// Exit codes: 0 done, 1 a letter is damaged, not there or not confirmed, or the folder cannot be read, 2 bad
/// arguments.
pub fn run(args: Args) -> ExitCode {
    let dir = match args.dir.clone().map_or_else(configured_dir, Ok) {
        Ok(dir) => dir,
        Err(why) => return fail(exit::CONFIGURATION, &why),
    };
    let segments = match letters::segments(&dir) {
        Ok(segments) => segments,
        Err(error) => return fail(exit::FAILED, &format!("{}: {error}", dir.display())),
    };
    let result = match &args.command {
        Command::List { all } => list(&segments, *all, args.json),
        Command::Show { number } => show(&segments, *number, args.json),
        Command::Resend { numbers, brokers, timeout } => match kafka(brokers.clone()) {
            Ok((options, servers)) => Resender::new(&options, &servers, *timeout)
                .map_err(|error| error.to_string())
                .and_then(|resender| resend(&segments, &resender, numbers, *timeout, args.json)),
            Err(why) => return fail(exit::CONFIGURATION, &why),
        },
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::FAILED),
        Err(why) => fail(exit::FAILED, &why),
    }
}

fn fail(code: u8, why: &str) -> ExitCode {
    put(&mut io::stderr(), &format!("sluice dead-letters: {why}"));
    ExitCode::from(code)
}

fn configured_dir() -> Result<PathBuf, String> {
    let configuration = environment::load().map_err(|refusal| refusal.to_string())?;
    configuration.gateway.kafka.letters.dir.ok_or("give the folder with --dir, or DEAD_LETTER_DIR".into())
}

fn kafka(brokers: Option<String>) -> Result<(KafkaOptions, String), String> {
    let options = environment::load().map_err(|refusal| refusal.to_string())?.gateway.kafka;
    match (brokers, options.bootstrap.clone()) {
        (Some(servers), _) | (None, Bootstrap::Servers(servers)) => Ok((options, servers)),
        (None, Bootstrap::Embedded) => {
            Err("the embedded broker has another address each time: give it with --brokers".into())
        }
    }
}

/// A letter and its number in the folder.
struct Found<'a> {
    number: usize,
    offset: usize,
    is_sent: bool,
    letter: Letter<'a>,
}

/// One segment's letters, and how many bytes of it are damaged. `before`: letters of those before it.
fn letters_of<'a>(bytes: &'a [u8], sent: &BTreeSet<usize>, before: usize) -> (Vec<Found<'a>>, usize) {
    let (mut found, mut damaged) = (Vec::new(), 0);
    for piece in letters::read(bytes) {
        match piece {
            Piece::Letter { offset, letter } => {
                let number = before + found.len() + 1;
                found.push(Found { number, offset, is_sent: sent.contains(&offset), letter });
            }
            Piece::Damaged { bytes } => damaged += bytes,
        }
    }
    (found, damaged)
}

/// Shows each segment with its letters; how many bytes are damaged. `each` may end it with `Ok(false)`.
fn walk(
    segments: &[Segment],
    mut each: impl FnMut(&Segment, &[Found<'_>], usize) -> Result<bool, String>,
) -> Result<usize, String> {
    let (mut before, mut damaged) = (0, 0);
    for segment in segments {
        let told = |error: io::Error| format!("{}: {error}", segment.path.display());
        let bytes = match fs::read(&segment.path) {
            // Somebody else sent the last of its letters again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes.map_err(told)?,
        };
        let (found, hurt) = letters_of(&bytes, &segment.sent().map_err(told)?, before);
        if hurt > 0 {
            let path = segment.path.display();
            put(&mut io::stderr(), &format!("sluice dead-letters: {path}: {hurt} bytes are no whole letter"));
        }
        before += found.len();
        damaged += hurt;
        if !each(segment, &found, hurt)? {
            break;
        }
    }
    Ok(damaged)
}

fn list(segments: &[Segment], all: bool, json: bool) -> Result<bool, String> {
    let damaged = walk(segments, |_, found, _| {
        let shown = found.iter().filter(|found| all || !found.is_sent);
        let lines: String = shown.map(|found| render::row(found, json) + "\n").collect();
        if !lines.is_empty() {
            put(&mut io::stdout(), &lines);
        }
        Ok(true)
    })?;
    Ok(damaged == 0)
}

fn show(segments: &[Segment], number: usize, json: bool) -> Result<bool, String> {
    let mut is_shown = false;
    walk(segments, |_, found, _| {
        if let Some(found) = found.iter().find(|found| found.number == number) {
            put(&mut io::stdout(), &render::whole(found, json));
            is_shown = true;
        }
        Ok(!is_shown)
    })?;
    if is_shown { Ok(true) } else { Err(format!("there is no letter {number}")) }
}

/// A header's value as text; empty if it is not there.
fn header(letter: &Letter<'_>, name: &str) -> String {
    let value = headers::iter(letter.headers).find(|(known, _)| *known == name);
    value.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// Whether it is a message that broke a rule, kept as it came.
fn is_refused(letter: &Letter<'_>) -> bool {
    header(letter, "dlq.stage") == headers::STAGE_CHECK
}

fn resend(
    segments: &[Segment],
    resender: &Resender,
    numbers: &[usize],
    timeout: Duration,
    json: bool,
) -> Result<bool, String> {
    let (mut resent, mut failed, mut left) = (0, 0, 0);
    let damaged = walk(segments, |segment, found, hurt| {
        // What was refused at the door would be refused by its readers: it stays unless it is named.
        let is_meant = |found: &Found<'_>| match numbers.is_empty() {
            true => !is_refused(&found.letter),
            false => numbers.contains(&found.number),
        };
        let is_wanted = |found: &&Found<'_>| !found.is_sent && is_meant(found);
        let wanted: Vec<&Found<'_>> = found.iter().filter(is_wanted).collect();
        let told = |error: io::Error| format!("{}: {error}", segment.path.display());
        let (mut confirmed, mut unmarked) = (0, None);
        for some in wanted.chunks(TOGETHER) {
            let offsets = send(resender, some, timeout);
            confirmed += offsets.len();
            // A full disk takes no mark; a segment of which nothing is left needs none.
            unmarked = segment.mark_sent(&offsets).err().or(unmarked);
        }
        let open = found.iter().filter(|found| !found.is_sent).count() - confirmed;
        // What is damaged may be of use to somebody: it stays.
        if open == 0 && hurt == 0 && segment.remove().map_err(told)? {
            unmarked = None;
        }
        if let Some(error) = unmarked {
            return Err(told(error));
        }
        resent += confirmed;
        failed += wanted.len() - confirmed;
        left += open;
        Ok(true)
    })?;
    let text = match json {
        true => {
            serde_json::json!({ "resent": resent, "failed": failed, "left": left, "damaged_bytes": damaged })
                .to_string()
        }
        false => format!("resent={resent} failed={failed} left={left} damaged_bytes={damaged}"),
    };
    put(&mut io::stdout(), &text);
    Ok(failed == 0 && damaged == 0)
}

/// Sends letters; the places of those that Kafka confirmed.
fn send(resender: &Resender, some: &[&Found<'_>], timeout: Duration) -> Vec<usize> {
    let complain = |number: usize, why: &str| {
        put(&mut io::stderr(), &format!("sluice dead-letters: letter {number}: {why}"));
    };
    let mut open: BTreeSet<usize> = BTreeSet::new();
    for (index, found) in some.iter().enumerate() {
        let topic = header(&found.letter, "dlq.source_topic");
        let Letter { key, value, headers, .. } = found.letter;
        let result = match topic.is_empty() {
            _ if is_refused(&found.letter) => {
                Err("it was refused at the door: mend it, and send it anew".into())
            }
            true => Err("it does not say which topic it was for".into()),
            false => resender.send(index, &Resent { topic: &topic, key, value, headers }),
        };
        match result {
            Ok(()) => drop(open.insert(index)),
            Err(why) => complain(found.number, &why),
        }
    }
    let mut offsets = Vec::new();
    while !open.is_empty() {
        // The client library owes a report for each within the timeout.
        let Some((index, outcome)) = resender.next(2 * timeout) else { break };
        open.remove(&index);
        match outcome {
            Ok(()) => offsets.push(some[index].offset),
            Err(why) => complain(some[index].number, &why),
        }
    }
    for index in open {
        complain(some[index].number, "no report came: it may be in the topic");
    }
    offsets
}
