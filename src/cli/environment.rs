//! The process's environment, as the configuration takes it.

use std::ffi::OsString;

use crate::config::{self, Configuration, Fault, Refusal};

/// Loads the configuration from the environment of this process.
///
/// # Errors
/// All faults at once, a value of ours that is not UTF-8 among them.
pub(super) fn load() -> Result<Configuration, Refusal> {
    load_from(std::env::vars_os())
}

/// The same for a consumer.
#[cfg(feature = "consume")]
pub(super) fn load_consumer(kind: crate::consume::Kind) -> Result<config::ConsumerConfiguration, Refusal> {
    read(std::env::vars_os(), |vars| config::load_consumer(vars, kind))
}

/// The same for the database alone.
#[cfg(feature = "consume")]
pub(super) fn load_database() -> Result<crate::consume::DatabaseOptions, Refusal> {
    read(std::env::vars_os(), config::load_database)
}

fn load_from(vars: impl Iterator<Item = (OsString, OsString)>) -> Result<Configuration, Refusal> {
    read(vars, config::load)
}

fn read<T>(
    vars: impl Iterator<Item = (OsString, OsString)>,
    load: impl FnOnce(Vec<(String, String)>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut environment = Vec::new();
    let mut broken = Vec::new();
    for (name, value) in vars {
        // A name that is not UTF-8 is none of ours.
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => environment.push((name, value)),
            Err(value) if config::is_ours(&name) => {
                let shown =
                    if config::may_be_secret(&name) { config::MASK.into() } else { value.to_string_lossy() };
                broken.push(Fault::new(&name, &shown, "UTF-8 text"));
            }
            Err(_) => {}
        }
    }
    match load(environment) {
        Ok(configuration) if broken.is_empty() => Ok(configuration),
        Ok(_) => Err(Refusal { faults: broken, warnings: Vec::new() }),
        Err(mut refusal) => {
            refusal.faults.extend(broken);
            Err(refusal)
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn var(name: &str, value: &[u8]) -> (OsString, OsString) {
        (name.into(), OsString::from_vec(value.to_vec()))
    }

    #[test]
    fn bytes_that_are_not_utf8_are_a_fault_of_ours_only() {
        let foreign = [var("PS1", b"\xff"), (OsString::from_vec(b"\xffNAME".to_vec()), "x".into())];
        assert!(load_from(foreign.into_iter()).is_ok());
        let ours =
            [var("KAFKA_TOPIC", b"a\xff"), var("LOG_LEVEL", b"x"), var("KAFKA_CONF_SASL_PASSWORD", b"p\xff")];
        let refusal = load_from(ours.into_iter()).unwrap_err().to_string();
        for expected in
            ["LOG_LEVEL=\"x\"", "KAFKA_TOPIC=\"a\u{fffd}\": expected UTF-8 text", "SASL_PASSWORD=\"***"]
        {
            assert!(refusal.contains(expected), "{refusal}");
        }
    }
}
