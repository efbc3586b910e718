//! The store of bodies on their way: shared, never overdrawn, and given back whatever ends a body.

use super::tests::{CHUNKS, Peer, STORE, World, announce, statuses};
use super::*;

/// Bodies share one store; whatever ends a body, its part comes back.
#[test]
fn the_store_of_bodies_is_shared_and_given_back() {
    let mut world = World::new();
    let (mut first, mut second) = (world.peer(), world.peer());
    world.feed(&mut first, announce(3000), false);
    assert_eq!(world.web.body_room, STORE - 3000);
    world.feed(&mut second, announce(2000), false);
    let said = second.said();
    assert!(said.starts_with("HTTP/1.1 503 ") && !said.contains("Connection: close"), "{said}");
    world.feed(&mut second, "x".repeat(2000) + &announce(1000), false);
    assert_eq!(world.web.body_room, STORE - 3000 - 1000, "the refused body was read away, the next one fits");
    world.feed(&mut second, CHUNKS, false);
    // Done, refused and not.
    world.feed(&mut first, format!("{{}}{}", " ".repeat(2998)), false);
    world.feed(&mut second, "x".repeat(1000), false);
    assert_eq!((first.statuses(), second.statuses(), world.web.body_room), (vec![202], vec![400], STORE));

    type End = fn(&mut World, &mut Peer);
    let ends: [(&str, End); 5] = [
        ("cut off by a drain", |world, peer| {
            peer.session.cut_off(&mut world.web.body_room);
            let said = peer.said();
            assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("Connection: close"), "{said}");
            assert!(said.contains(r#""code":"draining""#) && peer.session.is_over(), "{said}");
        }),
        ("the peer ends", |world, peer| {
            world.feed(peer, "", true);
        }),
        ("too slow", |world, peer| {
            world.now_us += 30_000_000;
            assert!(!world.on_time(peer), "it is told first");
            assert_eq!(peer.statuses(), [408]);
            assert!(peer.session.is_over() && peer.session.due_us() > world.now_us);
        }),
        ("gone", |world, peer| peer.session.release_body(&mut world.web.body_room)),
        ("the drain", |world, peer| {
            peer.session.drain();
            world.feed(peer, "", true);
        }),
    ];
    for (name, end) in ends {
        for head in [announce(1000) + "{", CHUNKS.to_owned() + "40\r\n{"] {
            let mut peer = world.peer();
            world.feed(&mut peer, &head, false);
            assert!(world.web.body_room < STORE, "{name}");
            end(&mut world, &mut peer);
            peer.session.release_body(&mut world.web.body_room);
            assert_eq!(world.web.body_room, STORE, "{name}");
        }
    }
    for broken in ["zz\r\n", "1001\r\n", "1\r\nxx", "3\r\n{} \r\n0\r\nbad trailer\r\n\r\n"] {
        let mut peer = world.peer();
        world.feed(&mut peer, CHUNKS.to_owned() + broken, false);
        assert_eq!(world.web.body_room, STORE, "{broken:?}");
        let said = peer.said();
        assert!(said.contains("Connection: close") && peer.session.is_over(), "{said}");
    }
}

/// Many bodies at once, in chunks and with lengths, some never finished: the store is never overdrawn or overpaid.
#[test]
fn the_store_of_bodies_stays_true_in_a_crowd() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut world = World::new();
    let mut crowd: Vec<Peer> = (0..8).map(|_| world.peer()).collect();
    let mut refused = 0;
    for _ in 0..20_000 {
        let at = random.usize(..crowd.len());
        let peer = &mut crowd[at];
        let bytes = match &peer.session.stage {
            Stage::Head if random.bool() => announce(random.usize(..STORE)),
            Stage::Head => CHUNKS.to_owned(),
            Stage::Body(incoming) if matches!(incoming.framed, Framed::Chunked(_)) => {
                let length = random.usize(..600);
                match length {
                    0..100 => "0\r\n\r\n".to_owned(),
                    _ => format!("{length:x}\r\n{}\r\n", "x".repeat(length)),
                }
            }
            _ => "x".repeat(random.usize(1..900)),
        };
        let eof = random.u8(..30) == 0;
        world.feed(peer, bytes, eof);
        refused += statuses(&peer.said()).iter().filter(|status| **status == 503).count();
        if peer.session.is_over() {
            peer.session.release_body(&mut world.web.body_room);
            crowd[at] = world.peer();
        }
        let reserved = crowd.iter().map(|peer| match &peer.session.stage {
            Stage::Body(incoming) => incoming.reserved,
            _ => 0,
        });
        assert_eq!(world.web.body_room + reserved.sum::<usize>(), STORE);
    }
    assert!(refused > 100, "{refused} found no room");
}
