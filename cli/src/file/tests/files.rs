//! Several files, and files that are none.

use std::{fs, path::PathBuf};

use super::{SOUND, file, found, options};
use crate::file::{Loaded, SourceFile, load, parse};

const CONNECTIONS: &str =
    "version: 1\nconnections:\n  here: { type: local, root: data }\n  lake: { type: local, root: lake }\n";

fn pipeline(name: &str) -> String {
    format!(
        "version: 1\npipelines:\n  {name}:\n    pattern: full\n    source: {{ from: here, path: a.csv }}\n    \
         sink: {{ to: lake, format: delta, path: {name} }}\n"
    )
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect()
}

#[test]
fn a_folder_is_read_as_one_document_in_the_order_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("z.yaml", CONNECTIONS.to_owned()),
        ("b.yml", pipeline("b")),
        ("a.yaml", pipeline("a")),
        ("notes.txt", "no YAML: [".to_owned()),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let loaded = load(&[folder.path().to_owned()], &options());
    assert_eq!(found(&loaded), Vec::<String>::new());
    assert_eq!(names(&loaded), ["a", "b"]);
    let root = folder.path().canonicalize().unwrap().join("lake");
    assert_eq!(loaded.pipelines[0].sink.to.params["root"], root.to_str().unwrap());
}

#[test]
fn names_are_unique_over_all_files() {
    let defaults = "defaults: { timezone: UTC }\n";
    let files = vec![
        file("a.yaml", &format!("{CONNECTIONS}{defaults}")),
        file("b.yaml", &pipeline("x")),
        file("c.yaml", &pipeline("x")),
        file("d.yaml", &format!("{CONNECTIONS}{defaults}")),
    ];
    let loaded = parse(files, &options());
    let expected = ["error WR-P004 3:3", "error WR-P004 3:3", "error WR-P004 4:3", "error WR-P004 5:1"];
    assert_eq!(found(&loaded), expected);
    let places: Vec<_> = loaded.diagnostics.iter().map(|found| found.span.file).collect();
    assert_eq!(places, [2, 3, 3, 3]);
    assert_eq!(names(&loaded), ["x"]);
}

#[test]
fn one_broken_file_does_not_hide_what_is_wrong_in_another() {
    let files = vec![
        file("a.yaml", "version: 1\nconnections: { a: [ }\n"),
        file("b.yaml", &SOUND.replace("every: 1h", "every: soon")),
    ];
    assert_eq!(found(&parse(files, &options())), ["error WR-P002 2:19", "error WR-P006 9:22"]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("latin1"), b"version: \xe9").unwrap();
    let missing = PathBuf::from("/no/such/file.yaml");
    let latin1 = folder.path().join("latin1");
    let loaded = load(&[missing, folder.path().to_owned(), latin1], &options());
    assert_eq!(found(&loaded), ["error WR-P001 0:0"; 3]);
    let named: Vec<&SourceFile> = loaded.files.iter().collect();
    assert_eq!(named[0].name, "/no/such/file.yaml");
}
