//! Real Redis for a test, through `scripts/redis.sh`: started on a free port in a scratch folder, stopped with the
//! test.

use std::process::Command;

pub struct RealRedis {
    dir: String,
    url: String,
}

impl RealRedis {
    /// A server that nobody else uses, whatever the environment says.
    pub fn own() -> RealRedis {
        let owner = std::process::id().to_string();
        let printed = script(&["start", "--owner", &owner, "--own"]);
        let named = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        RealRedis {
            dir: named("REDIS_DIR").expect("redis.sh names its folder").to_owned(),
            url: named("REDIS_URL").expect("redis.sh names the server").to_owned(),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// SIGKILLs it; what it held is gone.
    pub fn kill(&self) {
        script(&["kill", &self.dir]);
    }

    /// Starts it again, empty.
    pub fn up(&self) {
        script(&["up", &self.dir]);
    }
}

impl Drop for RealRedis {
    fn drop(&mut self) {
        let stopped = redis_sh(&["stop", &self.dir]).status();
        if !std::thread::panicking() {
            assert!(stopped.is_ok_and(|status| status.success()), "redis.sh stop failed");
        }
    }
}

fn redis_sh(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/redis.sh"));
    command.args(arguments);
    command
}

fn script(arguments: &[&str]) -> String {
    let output = redis_sh(arguments).output().expect("scripts/redis.sh runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "redis.sh {arguments:?} failed:\n{complaints}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
