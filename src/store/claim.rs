//! A file is one server's at a time: what one server's pages have got would be deleted under another
//! whose pages have not, and there is one place where a server that stops leaves its state.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use crate::store::StoreError;

/// The file is ours until this is dropped.
#[derive(Debug)]
pub struct Claim {
    /// Closed only when SQLite has closed the file: an end that is closed before would end SQLite's own
    /// locks too.
    _file: File,
}

/// Why it is not.
#[derive(Debug, thiserror::Error)]
#[error("another server uses {0}; give each server a file of its own")]
struct InUse(String);

/// Claims a file, if it is there.
pub(super) fn file(path: &Path) -> Result<Option<Claim>, StoreError> {
    // What is wrong with a file that cannot be opened SQLite tells better.
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let in_use = InUse(path.display().to_string());
            return Err(StoreError::Failed(in_use.into()));
        }
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(e)) => tracing::warn!(
            error = &e as &dyn std::error::Error,
            path = %path.display(),
            "nothing keeps other servers from this file"
        ),
    }
    Ok(Some(Claim { _file: file }))
}
