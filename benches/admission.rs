//! What a request pays before any work is done: `cargo bench --bench admission`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use divan::{Bencher, black_box, counter::ItemsCount};
use sluice::admission::{
    CapOptions, ConnectionCaps, Limiter, LimiterOptions, Network, TrustedProxies, true_client,
};
use sluice::wire::proxy;

const REQUESTS: usize = 10_000;

fn main() {
    divan::main();
}

/// Addresses in an order that no prefetcher knows, each once.
fn shuffled(count: u32) -> Vec<Network> {
    let mut addresses: Vec<_> =
        (0..count).map(|n| Network::from(IpAddr::from(Ipv4Addr::from_bits(n)))).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut addresses);
    addresses
}

/// Each of so many identities in turn; the last number does not fit in the table, so every request crowds one out.
#[divan::bench(args = [1, 100, 10_000, 100_000])]
fn allow(bencher: Bencher, identities: u32) {
    let order = shuffled(identities);
    let mut limiter = Limiter::new(&LimiterOptions::default());
    let (mut now_us, mut next) = (0, 0);
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        for _ in 0..REQUESTS {
            now_us += 1;
            let _ = black_box(limiter.allow(order[next], 1, now_us));
            next = if next + 1 == order.len() { 0 } else { next + 1 };
        }
    });
}

/// Somebody who does not take no for an answer.
#[divan::bench]
fn refuse(bencher: Bencher) {
    let mut limiter = Limiter::new(&LimiterOptions { per_second: 1, burst: 1, ..LimiterOptions::default() });
    let address = Network::from(IpAddr::from(Ipv6Addr::LOCALHOST));
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(|| {
        for _ in 0..REQUESTS {
            let _ = black_box(limiter.allow(address, 1, 1));
        }
    });
}

/// A connection in and out, with others open.
#[divan::bench]
fn enter_and_leave(bencher: Bencher) {
    let order = shuffled(10_000);
    let mut caps = ConnectionCaps::new(&CapOptions::default());
    order.iter().step_by(2).for_each(|address| assert!(caps.enter(*address)));
    bencher.counter(ItemsCount::new(order.len())).bench_local(|| {
        for address in &order {
            black_box(caps.enter(*address));
            caps.leave(*address);
        }
    });
}

#[divan::bench]
fn client_behind_two_proxies(bencher: Bencher) {
    let trusted =
        TrustedProxies::parse("10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fd00::/8").expect("a list");
    let header = &b"198.51.100.1, 192.0.2.1, 10.0.0.2"[..];
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        true_client(black_box(IpAddr::from([10, 0, 0, 1])), &trusted, [black_box(header)].into_iter())
    });
}

#[divan::bench(args = [1, 2])]
fn proxy_header(bencher: Bencher, version: u8) {
    let header = match version {
        1 => b"PROXY TCP4 192.0.2.1 198.51.100.7 4444 7000\r\n".to_vec(),
        _ => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x11\x5c\x1b\x58".to_vec(),
    };
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| proxy::parse(black_box(&header)));
}
