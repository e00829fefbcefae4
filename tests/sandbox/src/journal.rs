//! An append-only file of changes, one JSON text a line, that survives `kill -9` at any moment.
//!
//! A change is written before it takes effect and before anything is answered, so what was answered
//! is never lost. Killed while writing, the file ends in a torn line: it was never answered, and it
//! is cut off at the next start. A broken line anywhere else is refused, not guessed at.
//!
//! Lines are handed to the operating system, not forced to the disk: a process may die, a power cut
//! is not what a sandbox is for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened or read.
    #[error("the journal {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line in the middle is not a change.
    #[error("line {line} of the journal {path} is not readable; move the folder away to start anew")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A change cannot be written; it did not take effect.
    #[error("the journal {path} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Journal {
    /// Opens or creates the file and gives every change in it, in order.
    pub fn open<C: DeserializeOwned>(path: &Path) -> Result<(Journal, Vec<C>), JournalError> {
        let read_error = |source| JournalError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(read_error)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(read_error)?;
        let whole = content
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        content.truncate(whole);
        let mut changes = Vec::new();
        for (index, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
            changes.push(serde_json::from_slice(line).map_err(|source| JournalError::Line {
                path: path.to_owned(),
                line: index + 1,
                source,
            })?);
        }
        let mut journal = Journal {
            file,
            path: path.to_owned(),
            length: content.len() as u64,
        };
        journal.cut_to_length().map_err(read_error)?;
        Ok((journal, changes))
    }

    /// Writes changes, all in one write. After an error none of them is in the file.
    pub fn append<C: Serialize>(&mut self, changes: &[C]) -> Result<(), JournalError> {
        let mut lines = Vec::new();
        let written = changes
            .iter()
            .try_for_each(|change| {
                serde_json::to_writer(&mut lines, change)?;
                lines.push(b'\n');
                Ok::<(), io::Error>(())
            })
            .and_then(|()| self.file.write_all(&lines));
        match written {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(source) => {
                // Half a line in the middle would make the file unreadable. If even cutting it off
                // fails, the next append fails too, and the torn end is cut at the next start.
                let _ = self.cut_to_length();
                Err(JournalError::Write {
                    path: self.path.clone(),
                    source,
                })
            }
        }
    }

    fn cut_to_length(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_cut_off_and_writing_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for torn in ["", "\"thr", "\"three\""] {
            std::fs::write(&path, format!("\"one\"\n\"two\"\n{torn}")).unwrap();
            let (mut journal, changes) = Journal::open::<String>(&path).unwrap();
            assert_eq!(changes, ["one", "two"], "torn: {torn}");
            journal.append(&["four"]).unwrap();
            let (_, changes) = Journal::open::<String>(&path).unwrap();
            assert_eq!(changes, ["one", "two", "four"], "torn: {torn}");
        }
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, "\"one\"\n\"tw\n\"three\"\n").unwrap();
        let error = Journal::open::<String>(&path).unwrap_err();
        assert!(error.to_string().starts_with("line 2 of"), "{error}");
    }
}
