//! Files of a local folder that were begun and never finished, because their writer died: they bear the name they were
//! to have, `#` and a number. Listings of objects leave them out, so a sweep has to ask for them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::Unfinished;

/// Most that are told at a time; the rest the next time.
const MOST: usize = 10_000;

/// All below the folder, those that are being written included.
pub(super) fn list(root: &Path) -> io::Result<Vec<Unfinished>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Some((path, id)) = path.to_str().and_then(split) {
                // It may have been finished, and so be gone, since it was listed.
                let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
                let since = Timestamp::try_from(changed).map_err(io::Error::other)?;
                found.push(Unfinished { path: path.to_owned(), id: id.to_owned(), since });
            }
        }
        if found.len() >= MOST {
            break;
        }
    }
    Ok(found)
}

/// Removes one; one that is gone is fine.
pub(super) fn remove(root: &Path, path: &str, id: &str) -> io::Result<()> {
    match fs::remove_file(root.join(format!("{path}#{id}"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The name it was to have, and the number.
fn split(path: &str) -> Option<(&str, &str)> {
    let (path, id) = path.rsplit_once('#')?;
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some((path, id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_begun_and_not_finished_is_found_in_every_folder_and_can_be_removed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("day=1/x")).unwrap();
        for file in ["part-1.parquet", "part-2.parquet#17", "day=1/x/part-3.parquet#4", "day=1/a#b", "day=1/c#"] {
            fs::write(root.path().join(file), "half").unwrap();
        }
        let mut found = list(root.path()).unwrap();
        found.sort_by(|one, other| one.path.cmp(&other.path));
        let names: Vec<_> = found.iter().map(|file| (file.path.as_str(), file.id.as_str())).collect();
        assert_eq!(names, [("day=1/x/part-3.parquet", "4"), ("part-2.parquet", "17")]);
        for file in &found {
            remove(root.path(), &file.path, &file.id).unwrap();
            remove(root.path(), &file.path, &file.id).unwrap();
        }
        assert!(list(root.path()).unwrap().is_empty());
        assert!(root.path().join("part-1.parquet").exists() && root.path().join("day=1/a#b").exists());
    }
}
