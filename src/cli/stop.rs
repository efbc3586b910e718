//! SIGINT and SIGTERM for the tools: the first asks them to end well, the second ends them at once.
//!
//! Owns nothing but that rule; `serve` has its own in the gateway room, because it drains. Never sets a handler
//! for anything else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit status after a second signal, and of a tool that was cut short: 1, as in the conventions.
const CUT_SHORT: i32 = 1;

/// A flag that turns true with the first SIGINT or SIGTERM.
///
/// Errors: the kernel refuses a handler.
pub fn requested() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Order matters: the shutdown looks at the flag before the line below it sets it.
        flag::register_conditional_shutdown(signal, CUT_SHORT, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
