//! Parquet files from elsewhere: a damaged one is an error, and of a sound one every row becomes a row or a reject.

use serde_json::{Value, json};
use windrow_common::window::{Axis, Window};

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
    let most = all.as_ref().map_or(0, |all| all.rows() + all.rejects.len());
    if let Ok(all) = &all {
        let plain = object(0).read_all(usize::MAX).expect("what can be cast can be read");
        assert_eq!(plain.rejects, [], "a row is rejected that needs no cast");
        assert_eq!(all.rows() + all.rejects.len(), plain.rows(), "rows and rejects of so many rows");
    }
    // A damaged file may have statistics that are not those of its rows, and by them row groups are left out.
    object(columns).check_arrival(&all, part);
    let window = Window::new(Axis::Time, meeting.min(i64::MAX - 1), i64::MAX).expect("not empty");
    let within = object(columns).read(&window, usize::MAX);
    assert!(within.is_err() || all.is_err() || within.is_ok_and(|taken| taken.rows() <= most), "more than there is");
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
