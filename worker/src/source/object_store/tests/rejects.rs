//! What cannot become a row is told, with its place and its text, and the other rows go on.

use super::*;

fn events(folder: &Folder) -> Arc<dyn Source> {
    folder.source(json!({
        "path": "in.csv",
        "cursor": "at",
        "schema": { "id": "int", "at": "timestamp", "price": "decimal(8,2)" },
    }))
}

const DAY: (&str, &str) = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z");

#[tokio::test]
async fn rows_that_are_none_are_rejected_with_their_line_and_the_others_go_on() {
    let folder = Folder::new();
    let mut content = b"id,at,price\n1,2024-01-01T00:00:00Z,1.50\n2,2024-01-01T01:00:00Z\n".to_vec();
    content.extend_from_slice(b"3,2024-01-01T02:00:00Z,1,2\n\n4,2024-01-01T03:00:00Z,abc\n");
    content.extend_from_slice(b"5,2024-01-01T04:00:00Z,\"1\n\"\n6,2024-01-01T05:00:00Z,\xff\n7,,7\n8,noon,8\n");
    content.extend_from_slice(b"9,2024-01-01T23:59:59.999999Z,9\n10,2024-01-01T06:00:00Z,\"1");
    folder.put("in.csv", content);
    let taken = take(&events(&folder), &window(DAY.0, DAY.1)).await.unwrap();
    assert_eq!(taken.text(), "1,2024-01-01T00:00:00Z,1.50\n9,2024-01-01T23:59:59.999999Z,9.00\n");
    let faults = [
        (3, "WR-S004", "it has 2 fields, not 3"),
        (4, "WR-S004", "it has 4 fields, not 3"),
        (6, "WR-S005", "column \"price\": \"abc\" is no decimal(8,2)"),
        (7, "WR-S005", "column \"price\": \"1\\n\" is no decimal(8,2)"),
        (9, "WR-S004", "it is no UTF-8 text"),
        (10, "WR-S007", "the cursor \"at\" is null"),
        (11, "WR-S005", "the cursor \"at\": \"noon\" is no timestamp"),
        (13, "WR-S004", "a quote is opened and never closed"),
    ];
    let mut told = taken.faults();
    told.sort();
    assert_eq!(told, faults);
    let raw = |line: u64| taken.rejects.iter().find(|reject| reject.position == line).unwrap().raw.as_str();
    assert_eq!(raw(4), "3,2024-01-01T02:00:00Z,1,2");
    assert_eq!(raw(7), "5,2024-01-01T04:00:00Z,\"1\n\"");
    assert_eq!(raw(9), "6,2024-01-01T05:00:00Z,\u{fffd}");
    assert!(taken.rejects.iter().all(|reject| reject.input == "in.csv"));
}

#[tokio::test]
async fn a_bad_value_is_rejected_by_the_window_of_its_row_alone() {
    let folder = Folder::with(
        "in.csv",
        "id,at,price\nx,2024-01-01T00:00:00Z,1\n2,2024-01-02T00:00:00Z,2\ny,2024-01-02T00:00:00Z,1\n",
    );
    let source = events(&folder);
    let first = take(&source, &window("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z")).await.unwrap();
    let second = take(&source, &window("2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z")).await.unwrap();
    assert_eq!((first.rows.num_rows(), first.faults()), (0, vec![(2, "WR-S005", "column \"id\": \"x\" is no int")]));
    assert_eq!((second.rows.num_rows(), second.faults()), (1, vec![(4, "WR-S005", "column \"id\": \"y\" is no int")]));
}

#[tokio::test]
async fn a_null_cursor_is_no_matter_for_a_full_load() {
    let folder = Folder::with("in.csv", "id,at,price\n1,,1\n");
    let taken = take_all(&events(&folder)).await.unwrap();
    assert_eq!((taken.text().as_str(), taken.faults()), ("1,~,1.00\n", vec![]));
}

#[tokio::test]
async fn a_file_of_rejects_is_given_up() {
    let folder = Folder::with("in.csv", format!("id,at,price\n{}", "x\n".repeat(100_001)));
    let error = take_all(&events(&folder)).await.unwrap_err();
    assert_eq!(error.code(), error::TOO_MANY_REJECTED);
    let folder = Folder::with("in.csv", format!("id,at,price\n{}", "x\n".repeat(100_000)));
    assert_eq!(take_all(&events(&folder)).await.unwrap().rejects.len(), 100_000);
}

#[tokio::test]
async fn what_is_kept_of_a_reject_is_bounded() {
    let folder = Folder::new();
    let line = [b"1,2024-01-01T00:00:00Z,".as_slice(), &[0xff; 50_000]].concat();
    folder.put("in.csv", [b"id,at,price\n".as_slice(), &line].concat());
    let taken = take_all(&events(&folder)).await.unwrap();
    let raw = &taken.rejects[0].raw;
    assert!(raw.len() <= crate::source::MAX_REJECT_BYTES && raw.len() > 16_000, "{}", raw.len());
}

#[tokio::test]
async fn a_line_past_its_limit_stops_the_read() {
    let folder = Folder::with("in.csv", format!("id,text\n1,\"{}\n", "x\n".repeat(500_000)));
    folder.put("in.txt", "x".repeat(600_000));
    for path in ["in.csv", "in.txt"] {
        let source = folder.source(json!({ "path": path, "as_text": true, "limits": { "line": "300KiB" } }));
        let error = take_all(&source).await.unwrap_err();
        assert_eq!(error.code(), error::INPUT_TOO_LARGE, "{path}");
    }
}
