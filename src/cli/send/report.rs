//! Tells which lines are not stored: the first hundred in full on stderr, the rest as sums by reason, and all of
//! them in the report file, if there is one.
//!
//! Owns that file and the sums. What the gateway wrote is escaped and cut: it may be anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use indicatif::ProgressBar;
use serde_json::json;

use super::outcome::{Failure, Fate};

/// Lines told in full.
const SHOWN_MAX: u64 = 100;
/// Reasons counted apart; a gateway has some dozens.
const REASONS_MAX: usize = 100;
/// Longest word or detail printed, in characters.
const TEXT_MAX: usize = 200;

pub(super) struct Report {
    file: Option<BufWriter<File>>,
    file_error: Option<io::Error>,
    bar: ProgressBar,
    shown: u64,
    /// Lines not told in full, by fate and reason.
    rest: BTreeMap<(Fate, String), u64>,
}

impl Report {
    /// Errors: the file cannot be created.
    pub(super) fn new(path: Option<&Path>, bar: ProgressBar) -> io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self { file, file_error: None, bar, shown: 0, rest: BTreeMap::new() })
    }

    pub(super) fn add(&mut self, failure: &Failure) {
        let (code, detail) = (clean(&failure.code), clean(&failure.detail));
        self.write(failure, &code, &detail);
        if self.shown < SHOWN_MAX {
            self.shown += 1;
            let line = format!("line {}: {} {code} {detail}", failure.line, failure.fate.word());
            return self.bar.suspend(|| eprintln!("{}", line.trim_end()));
        }
        let known = self.rest.contains_key(&(failure.fate, code.clone()));
        let reason = if known || self.rest.len() < REASONS_MAX { code } else { "other reasons".into() };
        *self.rest.entry((failure.fate, reason)).or_default() += 1;
    }

    /// Prints the sums. Errors: a line could not be written to the report file.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        for ((fate, reason), lines) in &self.rest {
            self.bar.suspend(|| eprintln!("and {lines} more: {} {reason}", fate.word()));
        }
        match self.file_error.take() {
            Some(error) => Err(error),
            None => self.file.as_mut().map_or(Ok(()), Write::flush),
        }
    }

    fn write(&mut self, failure: &Failure, code: &str, detail: &str) {
        let Some(file) = self.file.as_mut() else { return };
        let line = json!({
            "line": failure.line, "outcome": failure.fate.word(), "code": code, "detail": detail,
        });
        if let Err(error) = writeln!(file, "{line}") {
            (self.file, self.file_error) = (None, Some(error)); // told at the end
        }
    }
}

fn clean(text: &str) -> String {
    let mut clean: String = text.chars().take(TEXT_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        clean.push_str("...");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hundred_are_shown_the_rest_summed_and_the_file_has_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let mut report = Report::new(Some(&path), ProgressBar::hidden()).unwrap();
        for line in 1..=350 {
            let code = format!("code{}", line % 2);
            report.add(&Failure { line, fate: Fate::Rejected, code, detail: "\u{1b}[2J\n".repeat(500) });
        }
        report.finish().unwrap();
        assert_eq!(report.rest.values().copied().collect::<Vec<_>>(), [125, 125]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 350);
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["line"], &last["outcome"], &last["code"]),
            (&350.into(), &"rejected".into(), &"code0".into())
        );
        assert!(last["detail"].as_str().unwrap().starts_with("\\u{1b}[2J\\n"), "escaped");
    }

    #[test]
    fn a_gateway_that_invents_reasons_does_not_fill_memory() {
        let mut report = Report::new(None, ProgressBar::hidden()).unwrap();
        for line in 0..10_000 {
            report.add(&Failure {
                line,
                fate: Fate::Unknown,
                code: format!("c{line}"),
                detail: String::new(),
            });
        }
        assert!(report.rest.len() <= REASONS_MAX + 1);
        assert_eq!(report.rest.values().sum::<u64>(), 9_900);
    }
}
