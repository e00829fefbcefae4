//! Where a login is kept: one file a profile, readable by its owner only. It has the token, never the secret.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, NO_ACCESS, REFUSED};
use crate::surroundings::Surroundings;

/// A login that is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// The API's address, without a slash at the end.
    pub api: String,
    /// m3ter's organization id.
    pub organization: String,
    /// Whose token it is.
    pub access_key_id: String,
    /// The token.
    pub token: String,
    /// When the API stops taking it.
    pub expires_at: Timestamp,
}

/// A profile's file.
#[derive(Debug)]
pub struct ProfileFile {
    name: String,
    path: PathBuf,
}

impl ProfileFile {
    /// The file of a profile: `$XDG_CONFIG_HOME/outbill/profiles/<name>.json`, else below `~/.config`.
    pub fn of(name: &str, surroundings: &Surroundings) -> Result<ProfileFile, Failure> {
        let is_good = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_good) {
            return Err(Failure::misused(
                format!("{name:?} cannot be the name of a profile"),
                "use letters, digits, - and _",
            ));
        }
        let base = surroundings.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        // A relative path there is to be ignored, says the XDG base directory specification.
        let base = base.filter(|base| base.is_absolute());
        let home = || {
            surroundings
                .variable("HOME")
                .or_else(|| surroundings.variable("USERPROFILE"))
        };
        let base = base.or_else(|| Some(PathBuf::from(home()?).join(".config")));
        let base = base.ok_or_else(|| {
            Failure::new(
                REFUSED,
                "there is no folder to keep a login in",
                "set HOME or XDG_CONFIG_HOME",
            )
        })?;
        Ok(ProfileFile {
            name: name.to_owned(),
            path: base.join("outbill").join("profiles").join(format!("{name}.json")),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The login that was kept.
    pub fn read(&self) -> Result<Profile, Failure> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let what = format!("there is no login in the profile {:?}", self.name);
                return Err(Failure::new(NO_ACCESS, what, log_in(&self.name)));
            }
            Err(error) => return Err(self.unusable("read", &error)),
        };
        if is_open_to_others(&file).map_err(|error| self.unusable("read", &error))? {
            return Err(Failure::new(
                REFUSED,
                format!("{} can be read by others than you", self.path.display()),
                format!(
                    "chmod 600 {}; if somebody may have read it, rotate the signing secret",
                    self.path.display()
                ),
            ));
        }
        serde_json::from_reader(std::io::BufReader::new(file)).map_err(|_| {
            let what = format!("{} is not a login", self.path.display());
            Failure::new(REFUSED, what, format!("delete it, then {}", log_in(&self.name)))
        })
    }

    /// Keeps a login, for its owner only. The file is whole or not there.
    pub fn write(&self, profile: &Profile) -> Result<(), Failure> {
        let failed = |error: std::io::Error| self.unusable("written", &error);
        let folder = self.path.parent().unwrap_or(&self.path);
        make_folder(folder).map_err(failed)?;
        let fresh = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = own_file(&fresh).and_then(|mut file| {
            serde_json::to_writer(&mut file, profile)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        written.map_err(failed)
    }

    /// Takes the login away. False: there was none.
    pub fn delete(&self) -> Result<bool, Failure> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.unusable("deleted", &error)),
        }
    }

    fn unusable(&self, done: &str, error: &std::io::Error) -> Failure {
        Failure::new(
            REFUSED,
            format!("{} cannot be {done}: {error}", self.path.display()),
            "",
        )
    }
}

/// How to log in to a profile.
pub fn log_in(profile: &str) -> String {
    match profile {
        "default" => "log in: outbill login --api URL --organization ORG".to_owned(),
        other => format!("log in: outbill login --profile {other} --api URL --organization ORG"),
    }
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn own_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn own_file(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create_new(true).open(path)
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> std::io::Result<bool> {
    Ok(false)
}
