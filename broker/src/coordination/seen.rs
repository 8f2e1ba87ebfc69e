//! How far into the metadata log this broker has ever been, kept in its data folder: a coordinator that lost what it confirmed,
//! or was restored from an old copy, would otherwise pass for one that is merely young.
//!
//! Written before anyone is answered from an entry. Replaced by a rename and not synced: after a loss of power it may be older
//! than it was, which makes the check weaker and never wrong.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sluice_cluster::metadata::batch::Hash;
use sluice_cluster::metadata::sealed::{seal, unseal};

/// A place in the log and the hash of all before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) next_seq: u64,
    pub(super) hash: Hash,
}

#[derive(Debug)]
pub(super) struct Seen {
    path: PathBuf,
    place: Place,
}

impl Seen {
    /// Reads the file; a broker that has none has seen nothing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let place = match fs::read(path) {
            Ok(bytes) => unseal(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Place::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), place })
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Been there.
    pub(super) fn advance(&mut self, place: Place) -> io::Result<()> {
        if place.next_seq <= self.place.next_seq {
            return Ok(());
        }
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, seal(&place))?;
        fs::rename(&fresh, &self.path)?;
        self.place = place;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_remembered_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.seen");
        let mut seen = Seen::open(&path).unwrap();
        assert_eq!(seen.place(), Place::default());
        let place = Place { next_seq: 7, hash: Hash([1; 32]) };
        seen.advance(place).unwrap();
        seen.advance(Place { next_seq: 3, hash: Hash([2; 32]) }).unwrap();
        assert_eq!(Seen::open(&path).unwrap().place(), place);
        fs::write(&path, b"x").unwrap();
        assert_eq!(Seen::open(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
