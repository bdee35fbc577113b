//! Rows that are chosen by what their fields say and written as they came.

use std::{fs, path::Path};

use tempfile::TempDir;
use windrow_tests::process::ran;

/// A folder with an input and a pipeline from it into lines.
struct Lines(TempDir);

impl Lines {
    fn new(name: &str, input: &[u8], pipeline: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), input).unwrap();
        let lines = Self(folder);
        lines.declare(pipeline);
        lines
    }

    fn declare(&self, pipeline: &str) {
        let text =
            format!("version: 1\nconnections:\n  here: {{ type: local, root: . }}\npipelines:\n  chosen:\n{pipeline}");
        fs::write(self.0.path().join("pipelines.yaml"), text).unwrap();
    }

    fn said(&self, command: &str) -> (Option<i32>, String) {
        ran(&[command, self.0.path().to_str().unwrap()]).unwrap()
    }

    /// The bytes of what readers of the folder see, file by file in the order of their names.
    fn written(&self) -> Vec<u8> {
        let mut files = Vec::new();
        find(&self.0.path().join("out"), &mut files);
        files.sort();
        files.iter().flat_map(|file| fs::read(file).unwrap()).collect()
    }
}

fn find(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true if path.file_name().is_some_and(|name| name == "_windrow") => {}
            true => find(&path, files),
            false if path.extension().is_some_and(|end| end == "txt") => files.push(path),
            false => {}
        }
    }
}

/// What no writer of JSON would write again: spaces, order, escapes, doubled keys, forms of numbers, a carriage return.
const ODD: [&str; 6] = [
    "{ \"type\" :\t\"order\",   \"at\":\"2024-01-01T00:00:00Z\" , \"n\": 1.0e5}",
    "{\"n\":1E+400,\"at\":\"2024-01-01T12:00:00+02:00\",\"type\":\"order\"}",
    "{\"type\":\"\\u006frder\",\"name\":\"\\u00e9 \u{e9} \\ud83c\\udf3e \u{1F33E}\",\"at\":\"2024-01-02T00:00:00Z\"}",
    "{\"a\":1,\"a\":2,\"a\":{\"a\":[1, 2,\t{}]},\"type\":\"order\",\"at\":\"2024-01-02T01:00:00Z\"}",
    "  {\"type\":\"order\",\"at\":\"2024-01-02T23:59:59Z\",\"big\":12345678901234567890123}  \r",
    "{\"type\":\"order\",\"at\":\"2024-01-03T00:00:00Z\"}",
];

fn input() -> String {
    let other = "{\"type\":\"visit\",\"at\":\"2024-01-01T00:00:00Z\"}";
    let lines: Vec<&str> = ODD.iter().flat_map(|line| [other, *line]).collect();
    // The last line has no end, and gets one.
    lines.join("\n")
}

const CHOOSE: &str = "    transform: [ { sql: \"SELECT line FROM input WHERE type = 'order'\" } ]
    sink: { to: here, format: text, path: out }
";

/// Proves IL13. By a parsed field in a full load, and by windows: the lines are what they were, to the byte.
#[test]
fn lines_chosen_by_a_field_are_written_as_they_came() {
    let source = "source: { from: here, path: events.jsonl, raw: line, schema: { type: string, at: timestamp }";
    let full = format!("    pattern: full\n    {source} }}\n{CHOOSE}");
    let lines = Lines::new("events.jsonl", input().as_bytes(), &full);
    let (code, text) = lines.said("run");
    assert_eq!(code, Some(0), "{text}");
    let wanted: String = ODD.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(String::from_utf8(lines.written()).unwrap(), wanted);

    let window = "    window: { every: 1d, start: 2024-01-01, end: 2024-01-04 }\n";
    let windows = format!("    pattern: incremental\n    {source}, cursor: at }}\n{window}{CHOOSE}");
    let lines = Lines::new("events.jsonl", input().as_bytes(), &windows);
    let (code, text) = lines.said("run");
    assert_eq!(code, Some(0), "{text}");
    let mut found: Vec<String> =
        String::from_utf8(lines.written()).unwrap().split_inclusive('\n').map(str::to_owned).collect();
    found.sort();
    let mut wanted: Vec<String> = ODD.iter().map(|line| format!("{line}\n")).collect();
    wanted.sort();
    assert_eq!(found, wanted);
}

/// The columns may be inferred, and a file of CSV has rows with texts of their own too.
#[test]
fn rows_of_csv_are_written_as_they_came() {
    let input = "id,type,note\n1,order,\"a \"\"quoted\"\" note\"\n2,visit,x\n 3,order,  spaces \n4,order,\n";
    let pipeline = format!("    pattern: full\n    source: {{ from: here, path: in.csv, raw: line }}\n{CHOOSE}");
    let lines = Lines::new("in.csv", input.as_bytes(), &pipeline);
    let (code, text) = lines.said("run");
    assert_eq!(code, Some(0), "{text}");
    let written = String::from_utf8(lines.written()).unwrap();
    assert_eq!(written, "1,order,\"a \"\"quoted\"\" note\"\n 3,order,  spaces \n4,order,\n");
}

/// What would be two lines, or none, is refused by name; so are rows of more than one column, before anything runs.
#[test]
fn what_is_not_one_line_is_refused() {
    let source = "    pattern: full\n    source: { from: here, path: in.csv, raw: line }\n";
    let retries = "    retries: { attempts: 1 }\n";
    let broken = "name,type\none,\"two\nlines\"\ntwo,order\n";
    let all =
        "    transform: [ { sql: \"SELECT line FROM input\" } ]\n    sink: { to: here, format: text, path: out }\n";
    let lines = Lines::new("in.csv", broken.as_bytes(), &format!("{source}{all}{retries}"));
    let (code, text) = lines.said("run");
    assert!(code == Some(4) && text.contains("WR-K016") && text.contains("two"), "{text}");
    assert_eq!(lines.written(), b"");
    let null = all.replace("SELECT line", "SELECT nullif(type, 'order') AS line");
    lines.declare(&format!("{source}{null}{retries}"));
    let (code, text) = lines.said("run");
    assert!(code == Some(4) && text.contains("WR-K016"), "{text}");
    lines.declare(&format!("{source}    sink: {{ to: here, format: text, path: out }}\n{retries}"));
    let (code, text) = lines.said("plan");
    assert!(code == Some(2) && text.contains("WR-K004") && text.contains("name, type, line"), "{text}");
    // A column that is there already, and formats without text of their own.
    for (more, why) in [
        (", schema: { line: string }", "declared"),
        (", format: text", "column `value`"),
        (", format: parquet", "no text"),
    ] {
        lines.declare(&format!(
            "    pattern: full\n    source: {{ from: here, path: in.csv, raw: line{more} }}\n    sink: {{ to: here, format: text, path: out }}\n"
        ));
        let (code, text) = lines.said("validate");
        assert!(code == Some(2) && text.contains("WR-P009") && text.contains(why), "{more}: {text}");
    }
}
