//! CSV as it is found in the wild.

use proptest::prelude::*;

use super::*;

/// Proves FL11.
#[tokio::test]
async fn semicolons_and_a_header_load_as_copy_would() {
    let folder = Folder::with(
        "devices.csv",
        "id;type;full_name\n1;\"htc\";\"HTC; One \"\"M8\"\"\"\n2;lg;\n\n3;sony;Xperia, Z\n",
    );
    let source = folder.source(json!({ "path": "devices.csv", "format": { "type": "csv", "delimiter": ";" } }));
    let taken = take_all(&source).await.unwrap();
    assert_eq!(taken.text(), "1,htc,\"HTC; One \"\"M8\"\"\"\n2,lg,~\n3,sony,\"Xperia, Z\"\n");
    assert!(taken.rejects.is_empty());
}

#[tokio::test]
async fn dialects_are_read_as_they_are_declared() {
    let cases = [
        ("a byte order mark and line ends of Windows", json!({}), "\u{feff}a,b\r\n1,x\r\n2,y\r\n", "1,x\n2,y\n"),
        ("no line end at the end", json!({}), "a,b\n1,x\n2,y", "1,x\n2,y\n"),
        ("lines within quotes", json!({}), "a,b\n1,\"x\ny\"\n2,z\n", "1,\"x\ny\"\n2,z\n"),
        ("tabs", json!({ "delimiter": "\t" }), "a\tb\n1\tx,y\n", "1,\"x,y\"\n"),
        ("another quote", json!({ "quote": "'" }), "a,b\n1,'x,\"y'\n", "1,\"x,\"\"y\"\n"),
        ("no quote", json!({ "quote": "" }), "a,b\n1,5\" disk\n", "1,\"5\"\" disk\"\n"),
        ("a quote inside a plain field", json!({}), "a,b\n1,5\" disk\n2,x\n", "1,\"5\"\" disk\"\n2,x\n"),
        ("an escape", json!({ "escape": "\\" }), "a,b\n1,\"x\\\"y\"\n", "1,\"x\"\"y\"\n"),
        ("declared nulls alone", json!({ "nulls": ["\\N"] }), "a,b\n\\N,\n2,\\N\n", "~,\n2,~\n"),
        ("only a header", json!({}), "a,b\n", ""),
    ];
    for (what, mut format, content, rows) in cases {
        format["type"] = json!("csv");
        let folder = Folder::with("in.csv", content);
        let taken = take_all(&folder.source(json!({ "path": "in.csv", "format": format }))).await.unwrap();
        assert_eq!((taken.text().as_str(), taken.faults()), (rows, vec![]), "{what}");
    }
}

#[tokio::test]
async fn a_file_without_a_header_takes_the_declared_order() {
    let folder = Folder::with("in.csv", "1,x\n2,y\n");
    let format = json!({ "type": "csv", "header": false });
    let params = json!({ "path": "in.csv", "format": format, "schema": [{ "z": "int" }, { "a": "string" }] });
    let taken = take_all(&folder.source(params)).await.unwrap();
    assert_eq!(taken.text(), "1,x\n2,y\n");
    assert_eq!(taken.rows.schema().field(0).name(), "z");
    let undeclared = take_all(&folder.source(json!({ "path": "in.csv", "format": format }))).await.unwrap();
    assert_eq!(undeclared.text(), "1,x\n2,y\n");
    assert_eq!(undeclared.rows.schema().field(1).name(), "column_2");
}

#[tokio::test]
async fn files_may_order_their_columns_differently_but_not_name_them_differently() {
    let folder = Folder::with("1.csv", "a,b\n1,x\n");
    folder.put("2.csv", "b,a\ny,2\n");
    let source = folder.source(json!({ "path": "*.csv" }));
    assert_eq!(take_all(&source).await.unwrap().text(), "1,x\n2,y\n");
    folder.put("3.csv", "b,c\ny,2\n");
    let error = take_all(&source).await.unwrap_err();
    assert_eq!(error.code(), error::SCHEMA_MISMATCH);
    assert!(error.to_string().contains("missing a; unexpected c"), "{error}");
}

#[tokio::test]
async fn compression_is_told_by_the_name_or_declared() {
    let content = "a,b\n1,x\n2,y\n";
    let members = [gzip("a,b\n1,x\n"), gzip("2,y\n")].concat();
    let cases = [
        ("in.csv", content.as_bytes().to_vec(), json!({})),
        ("in.csv.gz", gzip(content), json!({})),
        ("members.csv.gz", members, json!({})),
        ("in.csv.zst", zstd(content), json!({})),
        ("packed", gzip(content), json!({ "compression": "gzip", "format": "csv" })),
        ("plain.gz", content.as_bytes().to_vec(), json!({ "compression": "none", "format": "csv" })),
    ];
    for (name, bytes, mut params) in cases {
        let folder = Folder::with(name, bytes);
        params["path"] = json!(name);
        assert_eq!(take_all(&folder.source(params)).await.unwrap().text(), "1,x\n2,y\n", "{name}");
    }
}

/// A field as CSV writes it.
fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever fields hold, and wherever the pieces a file is read in are cut, they come out as they went in.
    #[test]
    fn fields_survive_being_written_and_read(
        rows in prop::collection::vec((0_i64..1_000, "[a-z,\"\n\r é€]{0,12}"), 1..40),
        blanks in 0_usize..2,
        long in 0_usize..300_000,
    ) {
        let mut content = format!("id,text\n0,{}\n", quoted(&"x".repeat(long)));
        let mut line = 2;
        let mut lines = Vec::new();
        for (id, text) in &rows {
            content.push_str(&"\n".repeat(blanks));
            line += 1 + blanks as u64;
            // Every 7th row is spoilt, to see that its line is told truly.
            let id = if id % 7 == 0 { "?".to_owned() } else { id.to_string() };
            if id == "?" {
                lines.push(line);
            }
            content.push_str(&format!("{id},{}\n", quoted(text)));
            line += text.matches('\n').count() as u64;
        }
        let folder = Folder::with("in.csv", content);
        let source = folder.source(json!({
            "path": "in.csv", "format": { "type": "csv", "nulls": [] }, "schema": { "id": "int", "text": "string" },
        }));
        let taken = tokio::runtime::Runtime::new().unwrap().block_on(take_all(&source)).unwrap();
        let texts = arrow_array::cast::AsArray::as_string::<i32>(taken.column("text"));
        let read: Vec<_> = texts.iter().flatten().skip(1).collect();
        let written: Vec<_> = rows.iter().filter(|(id, _)| id % 7 != 0).map(|(_, text)| text.as_str()).collect();
        prop_assert_eq!(read, written);
        prop_assert_eq!(taken.rejects.iter().map(|reject| reject.position).collect::<Vec<_>>(), lines);
    }
}
