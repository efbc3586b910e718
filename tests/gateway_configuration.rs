//! A gateway that must not start says why, once and in full, and tells it by its exit code.

mod gateway;
mod support;

use std::net::TcpListener;

use gateway::{TOPIC, cluster, line, listening, stop};
use rlimit::Resource;
use support::{Sluice, eventually};

/// Conventions, "Signals and exit": a bad configuration is exit 2 with all faults at once, each naming variable, value
/// and what would be right.
#[test]
fn all_faults_of_a_configuration_come_at_once() {
    let faulty = [
        ("KAFKA_TOPIC", "no topic name"),
        ("BUFFER_MAX_MSGS", "many"),
        ("DRAIN_TIMEOUT", "-1s"),
        ("KAFKA_COMPRESSION", "zip"),
        ("GATEWAY_LISTEN_PORT", "70000"),
    ];
    let mut command = support::command(&["serve"], &faulty);
    let output = command.output().expect("the binary under test starts");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for (variable, value) in faulty {
        let fault = said
            .lines()
            .find(|line| line.contains(variable))
            .unwrap_or_else(|| panic!("no {variable}: {said}"));
        assert!(fault.contains(value) && fault.contains("expected"), "{fault}");
    }
}

/// Unknown names with a prefix of ours are a warning, not a fault.
#[test]
fn an_unknown_variable_is_a_warning() {
    let broker = cluster(1);
    let sluice = listening(&broker, &[("KAFKA_TOPICS", "x")]);
    let warning = sluice.await_log("config.warning");
    assert!(warning.contains("KAFKA_TOPICS") && warning.contains("KAFKA_TOPIC"), "{warning}");
    stop(sluice).assert_clean(0);
}

/// Conventions, "Signals and exit": an address that cannot be bound is exit 3, and the line names it.
#[test]
fn a_port_that_is_taken_is_exit_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for variable in ["GATEWAY_LISTEN_PORT", "HEALTH_PORT"] {
        let sluice = Sluice::spawn(&[(variable, &port), ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")]);
        let line = sluice.await_log("gateway.failed");
        assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
        assert_eq!(sluice.wait().0, 3);
    }
}

/// Conventions, "Ports": a listener can be off; the other one works.
#[test]
fn listeners_can_be_off() {
    let broker = cluster(1);
    let sluice = listening(&broker, &[("GATEWAY_LISTEN_PORT", "off")]);
    assert!(sluice.await_log("gateway.start").contains("listen=off"));
    sluice.await_ready();
    stop(sluice).assert_clean(0);

    let sluice = listening(&broker, &[("HEALTH_PORT", "off")]);
    assert!(sluice.await_log("gateway.start").contains("health=off"));
    sluice.send_lines(&[line("p", 1)]);
    eventually(support::PATIENCE, "the line is stored", || gateway::scores(&broker) == [1]);
    stop(sluice).assert_clean(1);
}

/// G19: `KAFKA_BOOTSTRAP_SERVERS=embedded` needs nothing beside the binary.
#[test]
fn the_embedded_broker_needs_nothing_else() {
    let sluice = Sluice::start(&[("KAFKA_BOOTSTRAP_SERVERS", "embedded"), ("KAFKA_TOPIC", TOPIC)]);
    sluice.await_ready();
    assert!(sluice.await_log("gateway.start").contains("kafka=embedded"));
    sluice.send_lines(&[line("p", 1), line("q", 2)]);
    gateway::await_stored(&sluice, 2);
    stop(sluice).assert_clean(2);
}

/// KAFKA_CONF_* goes through to the client; what has a variable of its own wins, with a warning.
#[test]
fn client_properties_pass_through() {
    let broker = cluster(1);
    let env = [("KAFKA_CONF_LINGER_MS", "77"), ("KAFKA_LINGER_MS", "0"), ("KAFKA_CONF_CLIENT_ID", "mine")];
    let sluice = listening(&broker, &env);
    let warning = sluice.await_log("config.warning");
    assert!(warning.contains("KAFKA_CONF_LINGER_MS"), "{warning}");
    sluice.await_ready();
    stop(sluice).assert_clean(0);
    let output = support::command(&["serve"], &[("KAFKA_CONF_NO_SUCH_PROPERTY", "1")]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("KAFKA_CONF_NO_SUCH_PROPERTY"), "{said}");
}

/// The soft limit of open files is raised at start as far as MAX_CONNECTIONS needs and the hard limit allows.
#[test]
fn the_limit_of_open_files_is_raised() {
    let (_, hard) = Resource::NOFILE.get().unwrap();
    Resource::NOFILE.set(256, hard).unwrap(); // this process's, and so what the gateway inherits
    let broker = cluster(1);
    let sluice = listening(&broker, &[("MAX_CONNECTIONS", "1000")]);
    let (mut soft, mut inherited) = (0, 0);
    let limits = Some((&mut soft, &mut inherited));
    rlimit::prlimit(sluice.pid() as i32, Resource::NOFILE, None, limits).unwrap();
    assert!(soft > 1000 || soft == hard, "soft {soft}, hard {hard}");
    assert_eq!(inherited, hard);
    stop(sluice).assert_clean(0);
}
