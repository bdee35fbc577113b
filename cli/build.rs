//! Puts the pages of `docs/errors/` into the binary, as a table of (code, text).

use std::{env, error::Error, fmt::Write, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let pages = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../docs/errors").canonicalize()?;
    println!("cargo::rerun-if-changed={}", pages.display());
    let mut files: Vec<_> =
        fs::read_dir(&pages)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut table = "&[\n".to_owned();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let code = file.file_stem().unwrap_or_default().to_string_lossy();
        if code.starts_with("WR-") {
            writeln!(table, "    ({code:?}, include_str!({:?})),", file.display().to_string())?;
        }
    }
    table.push(']');
    fs::write(Path::new(&env::var("OUT_DIR")?).join("error_pages.rs"), table)?;
    Ok(())
}
