//! The real cluster that other tests stand on does what they ask of it: topics come, grow and go, records stay, and
//! a killed node comes back with its data.

mod support;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use support::{PATIENCE, RealKafka, end_offsets, read_all};

#[test]
fn a_killed_node_comes_back_with_its_records() {
    let kafka = RealKafka::own(1);
    kafka.topic_create("kept", 2, 1, &[("cleanup.policy", "delete")]);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().unwrap();
    for key in ["a", "b", "c"] {
        producer.send(BaseRecord::to("kept").key(key).payload("value")).unwrap();
    }
    producer.flush(PATIENCE).unwrap();

    kafka.kill(1);
    kafka.restart(1);

    let mut keys: Vec<_> = read_all(kafka.bootstrap(), "kept").into_iter().map(|record| record.key).collect();
    keys.sort();
    assert_eq!(keys, [b"a", b"b", b"c"]);
    assert_eq!(end_offsets(kafka.bootstrap(), "kept").iter().sum::<i64>(), 3);
}

#[test]
fn a_topic_grows_and_goes() {
    let kafka = RealKafka::start(1);
    let name = format!("grows-{}", std::process::id());
    kafka.topic_create(&name, 2, 1, &[]);
    kafka.topic_grow(&name, 5);
    assert_eq!(kafka.leaders(&name).len(), 5);
    kafka.topic_delete(&name);
    assert!(kafka.leaders(&name).is_empty());
}
