//! JSON lines, and lines that are left as they are.

use super::*;

/// Proves FL10.
#[tokio::test]
async fn objects_become_rows_of_the_declared_schema() {
    let folder = Folder::with(
        "in.json.gz",
        gzip(
            "{\"id\": 1, \"name\": \"a\\u00e9\\n\", \"at\": \"2024-01-01T00:00:00Z\", \"more\": {\"x\": [1]}}\n\
             \n\
             {\"name\": null, \"id\": 2, \"ignored\": true}\r\n",
        ),
    );
    let schema = json!([{ "id": "int" }, { "name": "string" }, { "at": "timestamp" }, { "more": "string" }]);
    let taken = take_all(&folder.source(json!({ "path": "in.json.gz", "schema": schema }))).await.unwrap();
    assert_eq!(taken.text(), "1,\"aé\n\",2024-01-01T00:00:00Z,\"{\"\"x\"\": [1]}\"\n2,~,~,~\n");
    assert!(taken.rejects.is_empty());
}

#[tokio::test]
async fn undeclared_keys_are_columns_in_the_order_they_are_met() {
    let folder =
        Folder::with("in.jsonl", "{\"z\": 1, \"a\": true}\n{\"z\": 2.5, \"day\": \"2024-01-01\", \"n\": {}}\n");
    let taken = take_all(&folder.source(json!({ "path": "in.jsonl" }))).await.unwrap();
    assert_eq!(taken.text(), "1.0,true,~,~\n2.5,~,2024-01-01,{}\n");
    let names: Vec<_> = taken.rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["z", "a", "day", "n"]);
}

#[tokio::test]
async fn lines_that_are_no_objects_are_rejected() {
    let mut content =
        b"{\"id\": 1}\n{\"id\": }\n[1]\n{\"id\": 2} {\"id\": 3}\n{\"id\": \"x\"}\n{\"id\": 4, \"id\": 5}\n".to_vec();
    content.extend_from_slice(b"{\"id\": 6, \"name\": \"\xff\"}\n{\"id\": [7]}\n{\"id\": 8");
    let folder = Folder::with("in.json", content);
    let taken = take_all(&folder.source(json!({ "path": "in.json", "schema": { "id": "int" } }))).await.unwrap();
    assert_eq!(taken.text(), "1\n");
    let mut faults: Vec<_> = taken.faults().iter().map(|(line, code, _)| (*line, *code)).collect();
    faults.sort();
    let (row, value) = ("WR-S004", "WR-S005");
    assert_eq!(faults, [(2, row), (3, row), (4, row), (5, value), (6, row), (7, row), (8, value), (9, row)]);
}

#[tokio::test]
async fn a_key_that_comes_after_the_sample_is_not_dropped_in_silence() {
    let folder = Folder::with("in.json", format!("{}{{\"id\": 2, \"new\": 3}}\n", "{\"id\": 1}\n".repeat(10_000)));
    let taken = take_all(&folder.source(json!({ "path": "in.json" }))).await.unwrap();
    assert_eq!(taken.rows.num_rows(), 10_000);
    assert_eq!(taken.faults(), [(10_001, "WR-S004", "the key \"new\" is no column")]);
}

#[tokio::test]
async fn as_text_keeps_numbers_as_they_are_written() {
    let folder = Folder::with("in.json", "{\"a\": 1.50, \"b\": 12345678901234567890123, \"c\": \"\"}\n");
    let taken = take_all(&folder.source(json!({ "path": "in.json", "as_text": true }))).await.unwrap();
    assert_eq!(taken.column("c").null_count(), 0);
    assert_eq!(taken.text(), "1.50,12345678901234567890123,\n");
}

#[tokio::test]
async fn a_line_read_as_text_is_not_touched() {
    let lines = [" {\"a\":1}  ", "", "no json, \"but\" text\r", "last"];
    let folder = Folder::with("in.json.zst", zstd(lines.join("\n")));
    let taken = take_all(&folder.source(json!({ "path": "in.json.zst", "read_as": "text" }))).await.unwrap();
    let values: Vec<_> = arrow_array::cast::AsArray::as_string::<i32>(taken.column("value")).iter().flatten().collect();
    assert_eq!(values, lines);
    folder.put("in.txt", b"good\n\xff\xfe\ngood\n");
    let taken = take_all(&folder.source(json!({ "path": "in.txt" }))).await.unwrap();
    assert_eq!((taken.rows.num_rows(), taken.faults()), (2, vec![(2, "WR-S004", "it is no UTF-8 text")]));
}

/// Which of the two would count, nobody could tell.
#[tokio::test]
async fn a_key_that_stands_twice_spoils_its_line_also_if_one_value_is_null() {
    let folder = Folder::with("in.json", "{\"id\": null, \"id\": 1}\n{\"id\": 1, \"id\": null}\n{\"id\": null}\n");
    let taken = take_all(&folder.source(json!({ "path": "in.json", "schema": { "id": "int" } }))).await.unwrap();
    let twice = "the key \"id\" stands twice";
    assert_eq!(taken.faults(), [(1, "WR-S004", twice), (2, "WR-S004", twice)]);
    assert_eq!(taken.rows.num_rows(), 1);
}
