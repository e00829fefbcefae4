//! The files of the repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Cargo and other tools put this file into folders that hold only what can be made again.
const CACHE_MARK: &str = "CACHEDIR.TAG";

/// Hidden folders whose files are part of the repository; other hidden folders belong to tools.
const HIDDEN_BUT_OURS: [&str; 2] = [".ci", ".github"];

/// A text file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// Its path from the root, with slashes.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl TextFile {
    /// A file that is nowhere, for tests.
    pub fn new(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// The part of the name after the last dot.
    pub fn extension(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All text files below a folder of the root (`""` is the root itself), by path. A folder that does
/// not exist is an error: a check of nothing would pass.
pub fn below(folder: &str) -> io::Result<Vec<TextFile>> {
    let root = root();
    let mut files = Vec::new();
    walk(&root, &root.join(folder), &mut files)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<TextFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() {
            let hidden = name.starts_with('.') && !HIDDEN_BUT_OURS.contains(&name.as_str());
            if !hidden && name != "node_modules" && !path.join(CACHE_MARK).exists() {
                walk(root, &path, files)?;
            }
        } else if kind.is_file() {
            // What is not UTF-8 is no text and nothing that is checked here.
            if let Ok(text) = String::from_utf8(fs::read(&path)?) {
                let path = path.strip_prefix(root).unwrap_or(&path);
                let path = path.to_string_lossy().replace('\\', "/");
                files.push(TextFile { path, text });
            }
        }
    }
    Ok(())
}
