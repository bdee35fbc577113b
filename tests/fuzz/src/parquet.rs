//! Parquet files from elsewhere: a damaged one is an error, and of a sound one every row becomes a row or a reject.

use serde_json::{Value, json};

use super::{draw::Draw, rows::Object};

/// The first bytes choose columns and a cursor; the rest is the file.
pub fn check(data: &[u8]) {
    let mut draw = Draw::of(data);
    let columns = draw.byte();
    let part = usize::from(draw.byte()) + 1;
    let meeting = draw.number();
    let content = draw.rest();
    let object = |columns| Object { name: "input.parquet", content, params: params(columns) };
    let all = object(columns).read_all(usize::MAX);
    if let Ok(all) = &all {
        let plain = object(0).read_all(usize::MAX).expect("what can be cast can be read");
        assert_eq!(plain.rejects, [], "a row is rejected that needs no cast");
        assert_eq!(all.rows() + all.rejects.len(), plain.rows(), "rows and rejects of so many rows");
    }
    object(columns).check_ways(&all, part, meeting);
}

/// As they are, or cast.
fn params(columns: u8) -> Value {
    let mut params = json!({ "format": "parquet" });
    match columns % 6 {
        0 => {}
        1 => params["cursor"] = json!("at"),
        2 => {
            params["cursor"] = json!("day");
            params["cursor_timezone"] = json!("Europe/Paris");
        }
        3 => params["cursor"] = json!("day"),
        4 => params["schema"] = json!({ "at": "timestamp", "day": "date", "id": "int", "note": "string" }),
        _ => {
            params["schema"] = json!({ "at": "string", "day": "timestamp", "id": "int32", "note": "int" });
            params["cursor"] = json!("day");
        }
    }
    params
}
