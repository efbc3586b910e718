//! The folder of segments: appending within a bound, listing, and marking what was sent again.
//!
//! A segment is written by one process, which holds a lock on it, and never appended to by a later one. Beside it
//! `.sent` lists the letters that were sent again, by their place. Letters are the only copy of an event: nothing
//! here ever makes room by dropping one.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::format::HEADER;

/// A segment is closed at this length, or at an eighth of what the folder may hold.
pub const SEGMENT_BYTES_MAX: u64 = 8 << 20;
/// Segments that another process made at the same moment; then something else is wrong.
const NAMES_TRIED: u64 = 100;

/// One file of letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    pub path: PathBuf,
}

impl Segment {
    fn of(dir: &Path, number: u64) -> Self {
        Self { number, path: dir.join(format!("letters-{number:08}.dl")) }
    }

    fn marks(&self) -> PathBuf {
        self.path.with_extension("sent")
    }

    /// Places of letters that were sent again. A mark that is cut short is none.
    pub fn sent(&self) -> io::Result<BTreeSet<usize>> {
        match fs::read_to_string(self.marks()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
            Ok(text) => {
                let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
                Ok(lines.filter_map(|line| line.parse().ok()).collect())
            }
        }
    }

    /// Marks letters as sent again, on the disk when this returns.
    pub fn mark_sent(&self, offsets: &[usize]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.marks())?;
        // A line before it that was cut short ends here.
        let lines: String = offsets.iter().map(|offset| format!("\n{offset}\n")).collect();
        file.write_all(lines.as_bytes())?;
        file.sync_data()
    }

    /// Removes it with its marks; false while a process writes to it.
    pub fn remove(&self) -> io::Result<bool> {
        let file = File::open(&self.path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        fs::remove_file(&self.path)?;
        match fs::remove_file(self.marks()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }
}

/// The segments of a folder, oldest first.
pub fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("letters-")?.strip_suffix(".dl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| Segment::of(dir, number)).collect())
}

/// The segment being written.
struct Open {
    file: File,
    len: u64,
    /// What is on the disk for certain; the rest of it may be taken back.
    synced: u64,
}

/// A folder as its writer sees it.
pub struct Folder {
    dir: PathBuf,
    max_bytes: u64,
    open: Option<Open>,
    /// Bytes of all segments and marks, as of the last look.
    held: u64,
    /// Letters appended since the last [`Folder::sync`] may not be there.
    is_broken: bool,
}

impl Folder {
    /// Looks at nothing yet: a folder that is missing shows when it is written to.
    pub fn new(dir: &Path, max_bytes: u64) -> Self {
        Self { dir: dir.to_owned(), max_bytes, open: None, held: u64::MAX, is_broken: false }
    }

    /// Makes the folder if it is missing.
    pub fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }

    /// Appends one encoded letter, which is safe after the next [`Folder::sync`].
    pub fn append(&mut self, letter: &[u8]) -> io::Result<()> {
        let needed = letter.len() as u64;
        if self.held.saturating_add(needed) > self.max_bytes {
            // The first look; or somebody may have made room.
            self.make()?;
            self.held = self.look()?;
        }
        let segment_bytes = (self.max_bytes / 8).min(SEGMENT_BYTES_MAX);
        if self.open.as_ref().is_some_and(|open| open.len + needed > segment_bytes.max(needed)) {
            self.is_broken |= self.sync().is_err();
            self.open = None;
        }
        let header = if self.open.is_none() { HEADER.len() as u64 } else { 0 };
        if self.held + header + needed > self.max_bytes {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "DEAD_LETTER_MAX_BYTES is reached"));
        }
        if self.open.is_none() {
            self.open = Some(self.begin()?);
            self.held = self.look()?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Err(error) = open.file.write_all(letter) {
            // Half a letter may be there: what came before it stays, what follows goes into another segment.
            let is_cut = open.file.set_len(open.len).is_ok();
            let result = if is_cut { open.file.sync_data() } else { Err(io::Error::other("not cut")) };
            if result.is_err() {
                (self.open, self.is_broken) = (None, true);
            }
            return Err(error);
        }
        open.len += needed;
        self.held += needed;
        Ok(())
    }

    /// What was appended since the last call is on the disk; if some of it is not, what can be is taken back.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_broken) {
            self.open = None;
            return Err(io::Error::other("a segment could not be finished"));
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let result = open.file.sync_data();
        match &result {
            Ok(()) => open.synced = open.len,
            Err(_) => {
                // As good as can be done on a disk that fails; a letter left behind is one too many, not one lost.
                let _ = open.file.set_len(open.synced);
                self.open = None;
            }
        }
        result
    }

    fn look(&self) -> io::Result<u64> {
        let mut held = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("letters-") {
                // One that has just been removed counts for nothing.
                held += entry.metadata().map_or(0, |metadata| metadata.len());
            }
        }
        Ok(held)
    }

    fn begin(&self) -> io::Result<Open> {
        self.make()?;
        let next = segments(&self.dir)?.last().map_or(1, |last| last.number + 1);
        for number in next..next + NAMES_TRIED {
            let path = Segment::of(&self.dir, number).path;
            let mut file = match OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            if let Err(error) = self.head(&mut file) {
                // Each attempt on a full disk would leave another one behind.
                let _ = fs::remove_file(path);
                return Err(error);
            }
            let len = HEADER.len() as u64;
            return Ok(Open { file, len, synced: len });
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no name for a segment is free"))
    }

    /// Makes a segment of an empty file.
    fn head(&self, file: &mut File) -> io::Result<()> {
        flock(&*file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(HEADER)?;
        // The name is to survive a crash as well.
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{Letter, Piece, encode, read};
    use super::*;

    fn letter(number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&Letter { time_ms: number, key: None, value: &[b'v'; 100], headers: b"" }, &mut bytes);
        bytes
    }

    fn times(dir: &Path) -> Vec<u64> {
        let mut times = Vec::new();
        for segment in segments(dir).unwrap() {
            for piece in read(&fs::read(segment.path).unwrap()) {
                match piece {
                    Piece::Letter { letter, .. } => times.push(letter.time_ms),
                    Piece::Damaged { bytes } => panic!("{bytes} bytes damaged"),
                }
            }
        }
        times
    }

    /// The bound holds over segments and over processes; nothing is dropped to make room.
    #[test]
    fn a_full_folder_takes_no_more_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made/here");
        let mut written = 0;
        for _ in 0..2 {
            let mut folder = Folder::new(&dir, 2000);
            let error = loop {
                match folder.append(&letter(written)) {
                    Ok(()) => written += 1,
                    Err(error) => break error,
                }
                folder.sync().unwrap();
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(folder.look().unwrap() <= 2000);
        }
        assert!(written > 8 && segments(&dir).unwrap().len() > 4, "{written}");
        assert_eq!(times(&dir), (0..written).collect::<Vec<_>>());
        // Somebody sent a segment's letters again: there is room while the same writer goes on.
        let mut folder = Folder::new(&dir, 2000);
        assert!(folder.append(&letter(written)).is_err());
        assert!(segments(&dir).unwrap()[0].remove().unwrap());
        folder.append(&letter(written)).unwrap();
    }

    #[test]
    fn a_segment_that_is_written_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(dir.path(), 1 << 20);
        folder.append(&letter(7)).unwrap();
        let segment = segments(dir.path()).unwrap().remove(0);
        assert!(!segment.remove().unwrap());
        drop(folder);
        assert!(segment.remove().unwrap());
        assert!(segments(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn marks_come_back_and_a_torn_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let segment = Segment::of(dir.path(), 1);
        assert!(segment.sent().unwrap().is_empty());
        segment.mark_sent(&[22, 190]).unwrap();
        let text = fs::read(segment.marks()).unwrap();
        fs::write(segment.marks(), &text[..text.len() - 2]).unwrap();
        assert_eq!(segment.sent().unwrap(), [22].into());
        segment.mark_sent(&[400]).unwrap();
        assert!(segment.sent().unwrap().is_superset(&[22, 400].into()));
    }

    /// A folder that cannot be made is an error, each time anew.
    #[test]
    fn a_folder_that_cannot_be_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("file");
        fs::write(&taken, "x").unwrap();
        let mut folder = Folder::new(&taken.join("below"), 1 << 20);
        assert!(folder.append(&letter(1)).is_err());
        fs::remove_file(&taken).unwrap();
        folder.append(&letter(2)).unwrap();
        folder.sync().unwrap();
        assert_eq!(times(&taken.join("below")), [2]);
    }
}
