//! A broker that refuses our writes: real Apache Kafka with an authorizer.

mod support;

use std::collections::HashMap;

use support::{
    Fate, PATIENCE, RealKafka, Senders, Sluice, assert_balanced, compare, count, eventually, read_all, tally,
};

const SIGTERM: i32 = signal_hook::consts::SIGTERM;

/// "Authorisation refused", pain 16: refused writes are told with Kafka's word and are not in the topic; once they
/// are allowed again, records flow without a restart.
#[test]
fn writes_refused_and_allowed_again() {
    let kafka = RealKafka::with_authorizer();
    kafka.topic_create("guarded", 3, 1, &[]);
    let sluice = Sluice::start(&[("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap()), ("KAFKA_TOPIC", "guarded")]);
    sluice.await_ready();
    let mut told = Senders::flood(&sluice, 2, 500, 10).wait();
    assert_eq!(tally(&told), HashMap::from([(Fate::Stored, 1_000)]));

    kafka.deny_writes("guarded");
    let refused = Senders::flood(&sluice, 2, 500, 10).wait();
    println!("{:?}", tally(&refused));
    let code = |fate: &Fate| matches!(fate, Fate::Retry(code) if code == "TOPIC_AUTHORIZATION_FAILED");
    assert_eq!(count(&refused, code), 1_000, "{:?}", tally(&refused));
    told.extend(refused);

    kafka.allow_writes("guarded");
    eventually(PATIENCE, "writes are taken again", || {
        let probe = Senders::flood(&sluice, 1, 1, 1).wait();
        let stored = probe[0].fate == Fate::Stored;
        told.extend(probe);
        stored
    });
    let later = Senders::flood(&sluice, 2, 500, 10).wait();
    assert_eq!(tally(&later), HashMap::from([(Fate::Stored, 1_000)]));
    told.extend(later);
    compare(&told, &read_all(kafka.bootstrap(), "guarded"));
    sluice.signal(SIGTERM);
    let (code, stop) = sluice.wait();
    assert_balanced(&stop);
    assert_eq!((code, stop["accepted"], stop["lost"]), (0, told.len() as u64, 0), "{stop:?}");
}
