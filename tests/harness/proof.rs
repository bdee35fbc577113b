//! What a run has shown, kept as one small file per case under `target/proof/LAYER/`; `docs/failures.md` is made from them.
//!
//! It knows nothing of windrow, so that every layer of tests can use it.

use std::{env, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// One case of one layer: what was done to windrow, and what held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// `model`, `simulation`, `chaos`, ...
    pub layer: String,
    /// Names the case within its layer, in words joined by `-`.
    pub case: String,
    /// What was injected, in plain words.
    pub injected: String,
    /// How often.
    pub times: u64,
    /// The invariants that were checked all along and held: `INV-3`, ...
    pub held: Vec<String>,
    /// States a model was in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<u64>,
    /// Rows of the source that were not in the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Rows in the sink that were there too often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubled: Option<u64>,
    pub seconds: f64,
    /// What repeats the run.
    pub command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Proof {
    /// Writes the case down, in place of what an earlier run wrote.
    pub fn write(&self) -> io::Result<PathBuf> {
        let folder = folder()?.join(&self.layer);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", self.case));
        // Whole or not at all: the page may be made while tests run.
        let partial = folder.join(format!(".{}.{}", self.case, std::process::id()));
        fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&partial, &path)?;
        Ok(path)
    }

    /// All cases that were written down, by layer and case.
    pub fn read_all() -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        let Ok(layers) = fs::read_dir(folder()?) else { return Ok(found) };
        for layer in layers {
            for file in fs::read_dir(layer?.path())? {
                let path = file?.path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    found.push(serde_json::from_slice(&fs::read(path)?)?);
                }
            }
        }
        found.sort_by(|one: &Self, other| (&one.layer, &one.case).cmp(&(&other.layer, &other.case)));
        Ok(found)
    }
}

/// Beside what was built: the folder above `debug/deps/` or `debug/`, where this very program lies.
fn folder() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    let target = target.ok_or_else(|| io::Error::other(format!("{} is in no target folder", program.display())))?;
    Ok(target.join("proof"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_down_is_found_again() {
        let layer = format!("proof-{}", std::process::id());
        let proof = Proof { layer, case: "a-case".to_owned(), lost: Some(0), seconds: 0.5, ..Proof::default() };
        let path = proof.write().unwrap();
        assert!(Proof::read_all().unwrap().contains(&proof));
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
