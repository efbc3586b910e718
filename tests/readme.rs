//! README, CHANGELOG and docs against the program: tables current, names real, links whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use sluice::config::markdown;
use sluice::metrics;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page in English that a reader of the repository may open.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![PathBuf::from("README.md"), PathBuf::from("CHANGELOG.md")];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "md") => pages.push(path),
                false => {}
            }
        }
    }
    assert!(pages.len() > 10, "docs are where they are expected: {pages:?}");
    pages
}

/// Words that follow `word` and a space, in code or not.
fn words_after<'t>(text: &'t str, word: &str) -> BTreeSet<&'t str> {
    let starts = text.match_indices(word).filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"/_-.".contains(c))
    });
    starts
        .filter_map(|(at, _)| text[at + word.len()..].strip_prefix(' '))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
            &rest[..end]
        })
        .filter(|found| !found.is_empty())
        .collect()
}

/// The code of a page: fenced blocks and `spans`. Prose may say "make sure".
fn code(page: &str) -> String {
    let mut code = String::new();
    let mut is_fenced = false;
    for line in page.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced {
            code.push_str(line.split(" # ").next().unwrap()); // a comment is prose
        } else {
            line.split('`').skip(1).step_by(2).for_each(|span| {
                code.push_str(span);
                code.push('\n');
            });
        }
        code.push('\n');
    }
    code
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// First words of the lines of a help text that are indented by two: what it lists, without wrapped text.
fn listed(help: &str) -> BTreeSet<&str> {
    let items = help.lines().filter_map(|line| line.strip_prefix("  "));
    items.filter(|item| !item.starts_with(' ')).filter_map(|item| item.split_whitespace().next()).collect()
}

#[test]
fn the_configuration_table_is_current() {
    let readme = read("README.md");
    let begin = "<!-- configuration table: begin (sluice check-config --markdown=table) -->\n";
    let (_, rest) = readme.split_once(begin).expect("the begin marker stands on a line of its own");
    let (table, _) = rest.split_once("<!-- configuration table: end -->").expect("the end marker");
    assert!(
        table == markdown::table(),
        "stale: put the output of `sluice check-config --markdown=table` there"
    );
}

/// A page never tells a reader to type what does not exist.
#[test]
fn make_targets_and_commands_exist() {
    let targets = output(Command::new("make").arg("help").current_dir(root()));
    let targets = listed(&targets);
    let help = output(Command::new(env!("CARGO_BIN_EXE_sluice")).arg("--help"));
    let commands = listed(&help);
    assert!(targets.contains("test-short") && commands.contains("check-config"));
    for page in pages() {
        let code = code(&read(&page));
        for target in words_after(&code, "make") {
            assert!(targets.contains(target), "{}: `make {target}` is no target", page.display());
        }
        for command in words_after(&code, "sluice") {
            assert!(commands.contains(command), "{}: `sluice {command}` is no command", page.display());
        }
    }
}

/// The README names every command, and the two that a newcomer needs come first.
#[test]
fn the_readme_is_complete() {
    let readme = read("README.md");
    let code = code(&readme);
    let help = output(Command::new(env!("CARGO_BIN_EXE_sluice")).arg("--help"));
    let (_, rest) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = rest.split_once("\n\n").unwrap();
    let named = words_after(&code, "sluice");
    for command in listed(commands) {
        assert!(named.contains(command), "`sluice {command}` is missing");
    }
    let (run, test) = (readme.find("make run").unwrap(), readme.find("make test").unwrap());
    assert!(run < 800 && test < 900, "the two commands first");
}

/// Options in code that follow `sluice COMMAND` on its line exist in that command's help.
#[test]
fn options_of_commands_exist() {
    let long = |command: &str| output(Command::new(env!("CARGO_BIN_EXE_sluice")).args([command, "--help"]));
    let mut checked = 0;
    for page in pages() {
        for line in code(&read(&page)).lines() {
            let Some(command) = words_after(line, "sluice").into_iter().next() else { continue };
            let spaced = line.replace("--", "-- ");
            let options = words_after(&spaced, "--");
            if options.is_empty() {
                continue;
            }
            let help = long(command);
            for option in options {
                assert!(help.contains(&format!("--{option}")), "{}: --{option} in `{line}`", page.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 3);
}

#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        let folder = page.parent().unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.clone() } else { folder.join(file) };
            assert!(root().join(&path).exists(), "{}: {target} does not exist", page.display());
            if !anchor.is_empty() {
                assert!(anchors(&read(&path)).contains(anchor), "{}: no heading {target}", page.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 10);
}

/// Headings as GitHub links them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        })
        .collect()
}

/// Files that pages name in code exist: `src/kafka/thread.rs`, `scripts/kafka.sh`.
#[test]
fn files_that_are_named_exist() {
    let mut checked = 0;
    for page in pages() {
        for span in read(&page).split('`').skip(1).step_by(2) {
            let is_path = [
                "src/",
                "tests/",
                "scripts/",
                "docs/",
                "benches/",
                "examples/",
                "proto/",
                "fuzz/",
                "deploy/",
            ]
            .iter()
            .any(|folder| span.starts_with(folder));
            if is_path && !span.contains([' ', '*', '<', '{', '\n']) {
                assert!(root().join(span).exists(), "{}: {span} does not exist", page.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 10);
}

/// Operations says something of every metric family, and of none that does not exist.
#[test]
fn operations_knows_every_metric() {
    let operations = read("docs/operations.md");
    let full = metrics::Snapshot {
        rejects: vec![("not_json", 0)],
        broker_rtt: vec![metrics::BrokerRtt { broker: 1, seconds: 0.001 }],
        last_delivery_unix_seconds: Some(1.0),
        process: metrics::ProcessSnapshot::read(),
        ..metrics::Snapshot::default()
    };
    let mut text = String::new();
    metrics::prometheus(&full, &mut text);
    let families: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(families.len() > 30, "{families:?}");
    for family in &families {
        assert!(operations.contains(&format!("`{family}`")), "docs/operations.md says nothing of {family}");
    }
    for span in operations.split('`').skip(1).step_by(2) {
        let name = span.split('{').next().unwrap();
        if name.starts_with("gateway_") || name.starts_with("process_") {
            assert!(families.contains(name), "docs/operations.md: {name} does not exist");
        }
    }
}

/// Operations explains every event name that the program writes to its log, and no other.
#[test]
fn operations_knows_every_log_event() {
    let operations = read("docs/operations.md");
    let (_, section) = operations.split_once("\n## Log events\n").expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let explained: BTreeSet<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .map(str::to_owned)
        .collect();
    let written = log_events();
    assert!(written.len() > 20, "{written:?}");
    let missing: Vec<_> = written.difference(&explained).collect();
    let gone: Vec<_> = explained.difference(&written).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not explained: {missing:?}; not written: {gone:?}");
}

/// Names of the form `word.word` that open a string in the sources and are followed by a space and `key=` or a list of
/// such pairs. The few that are written otherwise are named here.
fn log_events() -> BTreeSet<String> {
    const OTHERS: [&str; 4] = ["input.malformed", "validation.failed", "kafka.client", "log.message"];
    let mut events: BTreeSet<_> = OTHERS.map(str::to_owned).into();
    let mut sources = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push_str(text.split("#[cfg(test)]").next().unwrap());
            }
        }
    }
    for (at, _) in sources.match_indices('"') {
        events.extend(event_name(&sources[at + 1..]).map(str::to_owned));
    }
    for other in OTHERS {
        assert!(sources.contains(&format!("\"{other}\"")), "{other} is written no more");
    }
    events
}

fn event_name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '_' && c != '.')?;
    let (name, rest) = text.split_at(end);
    let next = rest.strip_prefix(' ')?;
    let key = next.split('=').next()?;
    let has_pairs =
        next.starts_with('{') || !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (name.contains('.') && !name.ends_with('.') && has_pairs).then_some(name)
}
