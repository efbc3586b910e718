//! A disk that is really full under the dead letters: what does not fit is named, what fits can be read, and events
//! that Kafka takes go on as before.

mod gateway;
mod support;

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gateway::web::{EVENTS, ids, web, web_cluster};
use gateway::{await_readiness, outcome, stop_with_log};
use support::{PATIENCE, TinyDisk, command, eventually};

const DISK_KIB: u32 = 64;
const LETTERS: usize = 600;

/// Events that are longer than the disk in all.
fn events() -> Vec<String> {
    let noise = "n".repeat(200);
    (0..LETTERS)
        .map(|number| format!(r#"{{"id":"e-{number}","type":"t","payload":{{"noise":"{noise}"}}}}"#))
        .collect()
}

/// `sluice dead-letters` with these arguments: exit code and stdout.
fn letters(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let dir = dir.to_str().unwrap();
    let output = command(&[&["dead-letters"], arguments, &["--dir", dir]].concat(), &[]).output().unwrap();
    eprint!("{}", String::from_utf8_lossy(&output.stderr)); // shown if the test fails
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn listed(dir: &Path) -> Vec<String> {
    let (code, list) = letters(dir, &["list"]);
    assert_eq!(code, 0, "nothing is torn: {list}");
    list.lines().map(|line| line.split('\t').nth(4).unwrap().to_owned()).collect()
}

/// The disk, or a loud word where there cannot be one. A container may keep even root from mounting; CI that has root is
/// to have that right as well.
fn disk() -> Option<TinyDisk> {
    let disk = TinyDisk::mount(DISK_KIB);
    if disk.is_none() {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let must = is_root && std::env::var_os("CI").is_some();
        assert!(!must, "no disk can be mounted here, though this is CI and root: allow `unshare -m`");
        // Not eprintln: that is shown of a test that fails only.
        let text =
            "\nNOT TESTED: a full disk under the dead letters; this user may not mount (`unshare -Urm`)\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    disk
}

/// In one segment that cannot grow, and in segments of which the next cannot be begun.
#[test]
fn a_full_disk_under_the_dead_letters() {
    for folder_bytes in ["64MiB", "256KiB"] {
        let Some(disk) = disk() else { return };
        let dir = disk.dir().join("letters");
        let mut broker = web_cluster();
        let env = [
            ("KAFKA_DLQ_TOPIC", "off"),
            ("DEAD_LETTER_DIR", dir.to_str().unwrap()),
            ("DEAD_LETTER_MAX_BYTES", folder_bytes),
            ("KAFKA_DELIVERY_TIMEOUT_MS", "1500"),
        ];
        let sluice = web(&broker, &env);
        eventually(PATIENCE, "all topics are found", || {
            sluice.metric("gateway_kafka_partitions") == f64::from(3 * gateway::PARTITIONS)
        });
        broker.command("down all");
        await_readiness(&sluice, 503);
        let mut http = sluice.http();
        for some in events().chunks(100) {
            assert_eq!(http.post("/events", format!("[{}]", some.join(","))).status, 202);
        }
        eventually(PATIENCE, "each has its end", || {
            outcome(&sluice, "dead_lettered") + outcome(&sluice, "not_stored") == LETTERS as u64
        });
        sluice.await_log("letters.failed");

        // The main flow goes on, and so does the naming.
        broker.command("up all");
        await_readiness(&sluice, 200);
        assert_eq!(http.post("/events?ack=delivered", r#"{"id":"after"}"#).status, 200);
        broker.command("refuse produce MSG_SIZE_TOO_LARGE 1");
        let refused = events()[0].replace("e-0", "refused");
        assert_eq!(http.post("/events", refused).status, 202);
        sluice.await_log("event.lost id=\"refused\"");

        let in_file: HashSet<String> = listed(&dir).into_iter().collect();
        assert_eq!(in_file.len() as u64, outcome(&sluice, "dead_lettered"), "{folder_bytes}");
        assert!(in_file.len() > 50 && in_file.len() < LETTERS, "{}", in_file.len());
        let files = std::fs::read_dir(&dir).unwrap().count();
        assert!(files <= 9, "{files} files: each attempt leaves one behind");

        drop(http);
        let lost = LETTERS + 1 - in_file.len();
        let (end, log) = stop_with_log(sluice);
        end.assert_balanced();
        let numbers = ["stored", "dead_lettered", "not_stored", "unknown", "lost"].map(|name| end.of(name));
        assert_eq!(
            (end.code, numbers),
            (1, [1, in_file.len() as u64, lost as u64, 0, lost as u64]),
            "{end:?}"
        );
        let id = |line: &String| Some(line.split_once("event.lost id=\"")?.1.split('"').next()?.to_owned());
        let named: Vec<String> = log.iter().filter_map(id).collect();
        let all: HashSet<String> = named.iter().cloned().collect();
        assert_eq!((named.len(), all.len()), (lost, lost), "each is named once");
        assert!(all.is_disjoint(&in_file), "in one place or the other");

        // The disk is still full: no mark can be written, and whole segments go all the same.
        let resend = ["resend", "--brokers", broker.bootstrap()];
        let said = format!("resent={} failed=0 left=0 damaged_bytes=0\n", in_file.len());
        assert_eq!(letters(&dir, &resend), (0, said));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        let stored: HashSet<String> = ids(&broker).into_iter().filter(|id| id != "after").collect();
        assert_eq!(stored, in_file, "in {EVENTS}");
    }
}
