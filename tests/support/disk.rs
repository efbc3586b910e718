//! A file system of a few KiB that really gets full: a tmpfs in a mount namespace of its own, held by a child process
//! and seen by everybody else through `/proc`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// It ends with this value.
pub struct TinyDisk {
    holder: Child,
    dir: PathBuf,
    /// What it is mounted over.
    _place: tempfile::TempDir,
}

impl TinyDisk {
    /// One of so many KiB; `None` where the kernel lets this user mount nothing, not even in a user namespace.
    pub fn mount(kib: u32) -> Option<TinyDisk> {
        // A user namespace needs no rights; without one only root may.
        ["-m", "-Urm"].iter().find_map(|namespaces| TinyDisk::try_mount(namespaces, kib))
    }

    fn try_mount(namespaces: &str, kib: u32) -> Option<TinyDisk> {
        let place = tempfile::tempdir().unwrap();
        let script =
            format!("mount -t tmpfs -o size={kib}k,mode=700 tiny \"$0\" && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args([namespaces, "sh", "-c", &script])
            .arg(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // that it may not is no news
            .spawn()
            .ok()?;
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line);
        let dir = PathBuf::from(format!("/proc/{}/root{}", holder.id(), place.path().display()));
        let is_mounted = said.is_ok() && line == "mounted\n" && std::fs::read_dir(&dir).is_ok();
        let disk = TinyDisk { holder, dir, _place: place };
        is_mounted.then_some(disk)
    }

    /// Its root.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
