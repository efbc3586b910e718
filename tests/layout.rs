//! The rules of docs/architecture.md, held against the sources: who may use whom, which library lives where, what
//! the lower rooms never do.
//!
//! Reads text, not syntax: comments, strings and test modules are taken out first, what is left is searched by name.
//! What the rules allow beyond themselves stands here by name, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Each room and the rooms that it may use, ground first.
const MAY_USE: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("wire", &[]),
    ("metrics", &[]),
    ("admission", &["event", "wire", "metrics"]),
    ("pipeline", &["event", "wire", "metrics"]),
    ("handoff", &["event", "metrics"]),
    ("session", &["event", "wire", "metrics", "pipeline", "admission", "handoff"]),
    ("net", &["event", "wire", "metrics", "pipeline", "admission", "handoff", "session"]),
    ("letters", &["event", "handoff"]),
    ("kafka", &["event", "metrics", "handoff", "letters"]),
    ("consume", &["event", "wire", "metrics", "handoff", "kafka"]),
    ("gateway", &["event", "wire", "metrics", "pipeline", "handoff", "session", "net", "kafka"]),
    (
        "config",
        &[
            "event",
            "metrics",
            "admission",
            "pipeline",
            "handoff",
            "session",
            "net",
            "kafka",
            "consume",
            "gateway",
        ],
    ),
    (
        "cli",
        &[
            "event", "wire", "metrics", "pipeline", "handoff", "session", "net", "letters", "kafka",
            "consume", "gateway", "config",
        ],
    ),
];

/// (file, path that it uses, reason).
const MAY_USE_ALSO: &[(&str, &str, &str)] = &[(
    "gateway/mod.rs",
    "crate::config::memory",
    "the worst-case sum is reckoned in one place, for check-config, MEMORY_LIMIT and the gauge",
)];

/// Every library of Cargo.toml and the files that may name it, by the start of their path.
const HOMES: &[(&str, &[&str])] = &[
    ("base64", &["pipeline/events/", "consume/"]),
    ("clap", &["cli/"]),
    ("crc32fast", &["letters/"]),
    ("crossbeam_channel", &["handoff/", "kafka/topic.rs", "letters/"]),
    ("diesel", &["consume/"]),
    ("env_logger", &["cli/"]),
    ("fastrand", &["consume/"]),
    ("flate2", &["wire/http1/"]),
    ("getrandom", &["gateway/"]),
    ("hdrhistogram", &["cli/bench/"]),
    ("httparse", &["wire/"]),
    ("humantime", &["pipeline/events/", "kafka/letters.rs", "consume/", "config/", "cli/"]),
    ("indicatif", &["cli/"]),
    ("log", &["session/", "net/", "letters/", "kafka/", "consume/", "gateway/", "config/", "cli/"]),
    ("memchr", &["wire/", "pipeline/events/", "letters/", "cli/"]),
    // The gateway makes the poller, so that it can hand its waker out before the thread starts.
    ("mio", &["net/", "gateway/mod.rs"]),
    ("percent_encoding", &["pipeline/events/"]),
    ("pollster", &["kafka/"]),
    ("pq_sys", &["consume/mod.rs"]),
    ("prost", &["event/", "pipeline/", "cli/tail"]),
    ("rand", &["session/ids.rs"]),
    ("rdkafka", &["kafka/"]),
    ("rdkafka_sys", &["kafka/"]),
    ("rlimit", &["gateway/", "cli/bench/"]),
    ("rustix", &["letters/", "cli/"]),
    ("serde", &["pipeline/events/", "consume/"]),
    (
        "serde_json",
        &["pipeline/encode.rs", "pipeline/events/", "kafka/", "consume/", "gateway/status.rs", "cli/"],
    ),
    // The tools end on a signal as well, and some of them run without a gateway.
    ("signal_hook", &["gateway/run.rs", "cli/"]),
    ("simd_json", &["pipeline/"]),
    ("slab", &["handoff/", "session/http/", "net/", "kafka/native.rs"]),
    ("socket2", &["net/"]),
    ("strsim", &["config/"]),
    ("uuid", &["pipeline/events/", "consume/"]),
    ("zstd_safe", &["wire/http1/"]),
];

/// Rooms that are simulated: bytes and time come to them as arguments.
const PURE: &[&str] = &["event", "wire", "metrics", "admission", "pipeline", "handoff", "session"];

/// (what a pure room never names, reason, the one file that may).
const NEVER_BELOW: &[(&str, &str, &str)] = &[
    ("Instant::now", "reads the clock", "handoff/clock.rs"),
    ("SystemTime::now", "reads the clock", "handoff/clock.rs"),
    ("TcpStream", "opens a socket", ""),
    ("TcpListener", "opens a socket", ""),
    ("UdpSocket", "opens a socket", ""),
    ("UnixStream", "opens a socket", ""),
    ("thread::spawn", "starts a thread", ""),
    ("thread::Builder", "starts a thread", ""),
    ("thread::scope", "starts a thread", ""),
    ("thread::sleep", "sleeps", ""),
    ("env::var", "reads the environment", ""),
    ("env::args", "reads the environment", ""),
];

/// The poll thread never sleeps but in its poller, and the rooms above the pure ones share one clock.
const NEVER_IN: &[(&str, &[&str])] = &[
    ("net", &["Instant::now", "SystemTime::now", "thread::sleep", "std::net::TcpStream", "env::var"]),
    ("kafka", &["env::var", "env::args", "thread::sleep"]),
    ("consume", &["env::var", "env::args", "thread::sleep"]),
    ("gateway", &["env::var", "env::args", "thread::sleep"]),
    ("config", &["env::var", "env::args", "Instant::now", "SystemTime::now"]),
];

const MAX_LINES: usize = 500;

/// (file, its own limit, reason).
const LONGER: &[(&str, usize, &str)] = &[];

/// One source file without its comments, strings and tests.
struct Source {
    /// Below src/, with `/`.
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    /// Whether it only exists for tests.
    fn is_test(&self) -> bool {
        let stem = self.path.trim_end_matches(".rs");
        ["/tests", "_tests", "/testing", "/lint"].iter().any(|end| stem.ends_with(end))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                let code = without_tests(&without_comments_and_strings(&text));
                sources.push(Source { path, text, code });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 50, "src/ is where it is expected");
    sources
}

/// Blanks out comments, strings and characters; lines stay where they are.
fn without_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let skip = |code: &mut String, from: usize, to: usize| {
        code.push(' ');
        code.extend(text[from..to].chars().filter(|c| *c == '\n'));
        to
    };
    while at < bytes.len() {
        let rest = &text[at..];
        at = if rest.starts_with("//") {
            skip(&mut code, at, at + rest.find('\n').unwrap_or(rest.len()))
        } else if let Some(end) = raw_string(rest).or_else(|| string(rest)).or_else(|| character(rest)) {
            skip(&mut code, at, at + end)
        } else {
            let c = rest.chars().next().unwrap();
            code.push(c);
            at + c.len_utf8()
        };
    }
    code
}

/// Length of the raw string that `text` begins with.
fn raw_string(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = inner.bytes().take_while(|byte| *byte == b'#').count();
    let body = inner[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - body.len() + body.find(&end)? + end.len())
}

fn string(text: &str) -> Option<usize> {
    let body = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// A character or byte literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    let mut chars = body.char_indices();
    match chars.next()?.1 {
        '\\' => {
            chars.next()?;
            Some(1 + chars.find(|(_, c)| *c == '\'')?.0 + 1)
        }
        _ => match chars.next()? {
            (at, '\'') => Some(1 + at + 1),
            _ => None,
        },
    }
}

/// Takes out every item under `#[cfg(test)]`, up to the brace that closes it or the semicolon that ends it.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, item)) = rest.split_once("#[cfg(test)]") {
        kept.push_str(before);
        let mut depth = 0;
        let end = item.char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0 && matches!(c, '}' | ';')).then_some(at + 1)
        });
        rest = &item[end.expect("an item ends")..];
    }
    kept + rest
}

/// Paths `crate::room...`, those inside of `use crate::{a, b::c}` as well.
fn own_paths(code: &str) -> BTreeSet<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut paths = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            None => {
                let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
                paths.insert(format!("crate::{}", &rest[..end]));
            }
            Some(group) => {
                let mut depth = 0;
                let mut start = 0;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth > 0 => depth -= 1,
                        ',' | '}' if depth == 0 => {
                            let path = group[start..at].trim();
                            let end = path.find(|c| !is_path(c)).unwrap_or(path.len());
                            if end > 0 {
                                paths.insert(format!("crate::{}", &path[..end]));
                            }
                            start = at + 1;
                            if c == '}' {
                                break;
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    paths
}

/// Whether `code` names `word` as a whole path segment.
fn names(code: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        before.is_none_or(|c| !is_word(c)) && after.is_none_or(|c| !is_word(c))
    })
}

fn check(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn rooms_use_only_what_stands_below_them() {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        if ["lib", "main"].contains(&source.room()) {
            continue;
        }
        let Some((room, allowed)) = MAY_USE.iter().find(|(room, _)| *room == source.room()) else {
            faults.push(format!("src/{}: a room that MAY_USE does not know", source.path));
            continue;
        };
        for path in own_paths(&source.code) {
            let target = path.split("::").nth(1).unwrap();
            if !MAY_USE.iter().any(|(known, _)| *known == target) {
                continue; // an item of the crate's root
            }
            let exception =
                MAY_USE_ALSO.iter().find(|(file, also, _)| *file == source.path && path.starts_with(also));
            used.extend(exception.map(|(_, also, _)| *also));
            if target != *room && !allowed.contains(&target) && exception.is_none() {
                faults.push(format!("src/{}: `{room}` may not use {path}", source.path));
            }
        }
    }
    for (file, path, _) in MAY_USE_ALSO.iter().filter(|(_, path, _)| !used.contains(path)) {
        faults.push(format!("src/{file} does not use {path} any more: take it out of MAY_USE_ALSO"));
    }
    check(&faults);
}

/// The library's table is complete, and main.rs holds nothing but the call of the command line.
#[test]
fn every_room_is_in_the_map() {
    let rooms: BTreeSet<_> = sources()
        .iter()
        .map(|s| s.room().to_owned())
        .filter(|room| room != "lib" && room != "main")
        .collect();
    assert_eq!(rooms, MAY_USE.iter().map(|(room, _)| (*room).to_owned()).collect());
    let architecture = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let architecture = std::fs::read_to_string(architecture).unwrap();
    for room in &rooms {
        assert!(architecture.contains(&format!("`{room}/`")), "docs/architecture.md says nothing of {room}/");
    }
    let sources = sources();
    let main = sources.iter().find(|source| source.path == "main.rs").unwrap();
    assert!(main.code.contains("sluice::cli::run()") && main.text.lines().count() < 20);
}

#[test]
fn a_library_has_one_home() {
    let sources = sources();
    let mut faults = Vec::new();
    for (library, homes) in HOMES {
        let mut is_used = false;
        for source in sources.iter().filter(|source| !source.is_test()) {
            let is_named = [format!("{library}::"), format!("use {library} as _")].iter().any(|path| {
                source.code.match_indices(path).any(|(at, _)| {
                    let before = source.code[..at].chars().next_back();
                    before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
                })
            });
            if !is_named {
                continue;
            }
            is_used = true;
            if !homes.iter().any(|home| source.path.starts_with(home)) {
                faults.push(format!("src/{}: {library} lives in {}", source.path, homes.join(", ")));
            }
        }
        if !is_used {
            faults.push(format!("{library} is named nowhere: take it out of HOMES, and of Cargo.toml"));
        }
    }
    check(&faults);
}

#[test]
fn every_library_has_a_home() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let section = rest.split("\n[").next().unwrap();
    let libraries: BTreeMap<_, _> = section
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, value)| (name.trim().replace('-', "_"), value))
        .collect();
    let homes: BTreeSet<_> = HOMES.iter().map(|(library, _)| (*library).to_owned()).collect();
    assert_eq!(libraries.keys().cloned().collect::<BTreeSet<_>>(), homes, "HOMES and [dependencies] differ");
    let silent: Vec<_> = libraries.iter().filter(|(_, value)| !value.contains('#')).collect();
    assert!(silent.is_empty(), "each dependency says why it is there: {silent:?}");
}

#[test]
fn pure_rooms_take_bytes_and_time_as_arguments() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        if PURE.contains(&source.room()) {
            for (name, deed, home) in NEVER_BELOW {
                if source.path != *home && names(&source.code, name) {
                    faults.push(format!("src/{} {deed}: {name}", source.path));
                }
            }
        }
        for (room, never) in NEVER_IN.iter().filter(|(room, _)| *room == source.room()) {
            for name in never.iter().filter(|name| names(&source.code, name)) {
                faults.push(format!("src/{}: {room} never uses {name}", source.path));
            }
        }
    }
    check(&faults);
}

/// Each `unsafe` block or impl has its proof in the lines right above it.
#[test]
fn unsafe_is_in_few_places_with_proofs() {
    let mut faults = Vec::new();
    let mut blocks = 0;
    for source in sources() {
        let (lines, code): (Vec<_>, Vec<_>) = (source.text.lines().collect(), source.code.lines().collect());
        for (number, line) in code.iter().enumerate().filter(|(_, line)| names(line, "unsafe")) {
            let place = format!("src/{}:{}", source.path, number + 1);
            let homes = ["kafka/native.rs", "kafka/identity.rs", "kafka/embedded"];
            if !homes.iter().any(|home| source.path.starts_with(home)) {
                faults.push(format!("{place}: unsafe outside of its two places"));
                continue;
            }
            if line.contains("unsafe fn") {
                continue; // the proof is due where it is called, and inside
            }
            blocks += 1;
            let above = lines[..number].iter().rev().take(5);
            if !above.into_iter().any(|line| line.contains("// SAFETY:")) {
                faults.push(format!("{place}: no SAFETY comment above"));
            }
        }
    }
    assert!(blocks > 5, "the blocks are found");
    check(&faults);
}

#[test]
fn files_stay_short() {
    let mut faults = Vec::new();
    for source in sources() {
        let own = LONGER.iter().find(|(path, _, _)| *path == source.path);
        let limit = own.map_or(MAX_LINES, |(_, limit, _)| *limit);
        let lines = source.text.lines().count();
        if lines > limit {
            faults.push(format!("src/{}: {lines} lines, {limit} at most", source.path));
        } else if own.is_some() && lines <= MAX_LINES {
            faults.push(format!("src/{}: {lines} lines; take it out of LONGER", source.path));
        }
    }
    check(&faults);
}

/// Every file says what it is for before it begins.
#[test]
fn files_open_with_what_they_are_for() {
    let silent: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| format!("src/{} has no header", source.path))
        .collect();
    check(&silent);
}

/// No async runtime in what is built, whatever the features. Not offline: crates of features that were never built
/// are fetched for the look, as on a new machine.
#[test]
fn there_is_no_async_runtime() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    for features in ["--no-default-features", "--all-features"] {
        let output = Command::new(&cargo)
            .args(["tree", "--locked", "-e", "normal", "--prefix", "none", features])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        let crates: BTreeSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(crates.contains("mio") && crates.contains("rdkafka-sys"), "{tree}");
        for runtime in
            ["tokio", "async-std", "smol", "async-executor", "glommio", "monoio", "futures-executor"]
        {
            assert!(!crates.contains(runtime), "{runtime} with {features}");
        }
    }
}

/// The search itself: what it must not see, and what it must.
#[test]
fn the_search_tells_code_from_text() {
    let text = r##"
use crate::{net::Hub, event::{Outcome, Field}, cli};
/// thread::spawn in a comment
fn a<'a>(b: &'a str) { let _ = ("Instant::now", '"', b'\'', r#"crate::kafka"#, crate::wire::ack); }
#[cfg(test)]
mod tests { fn c() { std::thread::spawn(|| {}); } }
#[cfg(test)]
mod lint;
fn d() { Instant::now(); }
"##;
    let code = without_tests(&without_comments_and_strings(text));
    assert!(!names(&code, "thread::spawn") && !code.contains("crate::kafka") && !code.contains("lint"));
    assert!(names(&code, "Instant::now"));
    let paths: Vec<_> = own_paths(&code).into_iter().collect();
    assert_eq!(paths, ["crate::cli", "crate::event::", "crate::net::Hub", "crate::wire::ack"]);
}
