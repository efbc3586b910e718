//! `sluice serve`: a gateway with signals, from start to the last line and the exit code.

use std::io;
use std::net::SocketAddr;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::{Controller, Gateway, GatewayOptions, StartError};
use crate::event::quoted;
use crate::kafka::display_bootstrap;

/// Runs until a signal ends it. Exit code: 0 balanced and nothing lost, unknown or unread; 1 otherwise;
/// 3 an address could not be bound.
pub fn run(options: GatewayOptions) -> i32 {
    let kafka = display_bootstrap(&options.kafka.bootstrap).to_owned();
    let topics = options.kafka.topics.clone();
    let mut gateway = match Gateway::start(options) {
        Ok(gateway) => gateway,
        Err(error) => {
            log::error!(target: "gateway", "gateway.failed reason={}", quoted(&error));
            return if matches!(error, StartError::Bind(..)) { 3 } else { 1 };
        }
    };
    if let Err(error) = watch_signals(gateway.controller()) {
        log::error!(target: "gateway", "signals.failed reason={}", quoted(&error));
        return 1;
    }
    let [listen, http, health] =
        [gateway.tcp_address(), gateway.http_address(), gateway.health_address()].map(show);
    log::info!(target: "gateway", "gateway.start listen={listen} http={http} health={health} kafka={kafka} topic={topics} version={}", env!("CARGO_PKG_VERSION"));
    match gateway.wait() {
        Ok(summary) if summary.is_clean() => {
            log::info!(target: "gateway", "gateway.stop {summary}");
            0
        }
        Ok(summary) => {
            log::error!(target: "gateway", "gateway.stop {summary}");
            1
        }
        Err(error) => {
            log::error!(target: "gateway", "gateway.failed reason={}", quoted(&error));
            1
        }
    }
}

fn show(address: Option<SocketAddr>) -> String {
    address.map_or("off".into(), |address| address.to_string())
}

/// The signal thread: turns signals into requests, and nothing else. HUP never ends the process.
fn watch_signals(controller: Controller) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    thread::Builder::new().name("sluice-signal".into()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => log::info!(target: "gateway", "signal.hup effect=none"),
                SIGUSR1 => controller.dump(),
                _ => controller.stop(),
            }
        }
    })?;
    Ok(())
}
