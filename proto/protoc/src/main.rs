//! Lays out a protoc where `.cargo/config.toml` expects it: `<dir>/bin/protoc` and `<dir>/include`.
//!
//! A fresh machine has a Rust toolchain, a C compiler and make; protoc comes from the crate registry.

use std::{env, error::Error, fs, io, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args_os()
        .nth(1)
        .ok_or("usage: windrow-protoc <directory>")?;
    let dir = Path::new(&dir);
    let binary = dir.join("bin").join("protoc");
    fs::create_dir_all(dir.join("bin"))?;
    fs::copy(protoc_bin_vendored::protoc_bin_path()?, &binary)?;
    copy_tree(
        &protoc_bin_vendored::include_path()?,
        &dir.join("include"),
    )?;
    println!("{}", binary.display());
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
