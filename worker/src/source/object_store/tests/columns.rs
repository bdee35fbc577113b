//! Types, zones and cursors.

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn every_declared_type_reads_its_text() {
    let folder = Folder::with(
        "in.csv",
        "s,i,j,f,b,d,t,n,x\n\
         a,-9223372036854775808,7,1e3,TRUE,2024-02-29,2024-02-29T12:00:00+02:00,-12.5,raw\n\
         ,,,,,,,,\n",
    );
    let schema = json!({
        "s": "string", "i": "int64", "j": "int32", "f": "float", "b": "bool", "d": "date", "t": "timestamp",
        "n": "decimal(5,2)", "x": "binary",
    });
    let taken = take_all(&folder.source(json!({ "path": "in.csv", "schema": schema }))).await.unwrap();
    assert_eq!(
        taken.text(),
        "a,-9223372036854775808,7,1000.0,true,2024-02-29,2024-02-29T10:00:00Z,-12.50,726177\n~,~,~,~,~,~,~,~,~\n"
    );
}

#[tokio::test]
async fn values_that_do_not_fit_are_never_nulls() {
    let cases = [
        ("int", "1.0"),
        ("int", "9223372036854775808"),
        ("int32", "2147483648"),
        ("float", "1,5"),
        ("bool", "2"),
        ("date", "2023-02-29"),
        ("date", "29.02.2024"),
        ("timestamp", "2024-01-01T25:00:00Z"),
        ("timestamp", "2024-01-01T00:00:00"),
        ("decimal(5,2)", "1.234"),
        ("decimal(5,2)", "1000"),
    ];
    for (kind, text) in cases {
        let folder = Folder::with("in.csv", format!("a\n\"{text}\"\n"));
        let taken = take_all(&folder.source(json!({ "path": "in.csv", "schema": { "a": kind } }))).await.unwrap();
        assert_eq!(taken.rows.num_rows(), 0, "{kind} {text}");
        assert_eq!(taken.rejects[0].code, "WR-S005", "{kind} {text}");
    }
}

/// Half-hourly local times of the day the clocks went back in Paris, as a device writes them.
fn autumn(extra: Value) -> (Folder, Arc<dyn Source>) {
    let folder = Folder::with(
        "in.csv",
        "id,at\n1,2024-10-27 01:30:00\n2,2024-10-27 02:30:00\n3,2024-10-27 03:00:00\n4,2024-10-27 03:30:00\n",
    );
    let mut params = json!({ "path": "in.csv", "cursor": "at", "schema": { "id": "int", "at": "timestamp" } });
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let source = folder.source(params);
    (folder, source)
}

/// Proves IL14.
#[tokio::test]
async fn the_doubled_hour_is_neither_lost_nor_doubled() {
    let day = [
        window("2024-10-26T22:00:00Z", "2024-10-27T00:00:00Z"),
        window("2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z"),
        window("2024-10-27T01:00:00Z", "2024-10-27T02:00:00Z"),
        window("2024-10-27T02:00:00Z", "2024-10-27T23:00:00Z"),
    ];
    let ids = async |extra: Value| {
        let (_folder, source) = autumn(extra);
        let mut ids = Vec::new();
        for window in &day {
            let taken = take(&source, window).await.unwrap();
            let faults = taken.rejects.len();
            let rows = taken.text().lines().map(|row| row.split(',').next().unwrap().to_owned()).collect::<Vec<_>>();
            ids.push((rows.join(" "), faults));
        }
        ids
    };
    let owned = |rows: [&str; 4], faults: usize| rows.map(|row| (row.to_owned(), faults)).to_vec();
    let earlier = json!({ "timezone": "Europe/Paris", "ambiguous": "earlier" });
    let later = json!({ "timezone": "Europe/Paris", "ambiguous": "later" });
    let undecided = json!({ "timezone": "Europe/Paris" });
    assert_eq!(ids(earlier).await, owned(["1", "2", "", "3 4"], 0));
    assert_eq!(ids(later).await, owned(["1", "", "2", "3 4"], 0));
    assert_eq!(ids(undecided).await, owned(["1", "", "", "3 4"], 1));
}

/// Proves IL14.
#[tokio::test]
async fn a_time_without_a_zone_is_refused_unless_one_is_declared() {
    let (_folder, source) = autumn(json!({}));
    let day = window("2024-10-26T00:00:00Z", "2024-10-28T00:00:00Z");
    let taken = take(&source, &day).await.unwrap();
    assert_eq!((taken.rows.num_rows(), taken.rejects.len()), (0, 4));
    assert!(taken.rejects[0].reason.contains("no time zone"), "{}", taken.rejects[0].reason);
    let (_folder, source) =
        autumn(json!({ "schema": { "id": "int", "at": { "type": "timestamp", "timezone": "UTC" } } }));
    assert_eq!(take(&source, &day).await.unwrap().rows.num_rows(), 4);
}

#[tokio::test]
async fn a_skipped_hour_is_rejected_or_moved() {
    let folder = Folder::with("in.csv", "at\n2024-03-31T02:30:00\n");
    let run = async |policy: Option<&str>| {
        let params = json!({ "path": "in.csv", "schema": { "at": "timestamp" }, "timezone": "Europe/Paris" });
        let mut params = params;
        if let Some(policy) = policy {
            params["ambiguous"] = json!(policy);
        }
        let taken = take_all(&folder.source(params)).await.unwrap();
        (taken.text(), taken.rejects.len())
    };
    assert_eq!(run(None).await, (String::new(), 1));
    assert_eq!(run(Some("earlier")).await, ("2024-03-31T00:30:00Z\n".to_owned(), 0));
    assert_eq!(run(Some("later")).await, ("2024-03-31T01:30:00Z\n".to_owned(), 0));
}

#[tokio::test]
async fn days_and_microseconds_are_cursors_too() {
    let folder = Folder::with("in.csv", "day,micros\n2024-01-01,1704067200000000\n2024-01-02,1704153600000000\n");
    let run = async |cursor: &str, zone: Option<&str>, window: Window| {
        let mut params = json!({ "path": "in.csv", "cursor": cursor });
        if let Some(zone) = zone {
            params["timezone"] = json!(zone);
        }
        take(&folder.source(params), &window).await.unwrap().rows.num_rows()
    };
    let day = window("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z");
    assert_eq!(run("day", None, day).await, 1);
    assert_eq!(run("micros", None, day).await, 1);
    let paris = window("2023-12-31T23:00:00Z", "2024-01-01T00:00:00Z");
    assert_eq!(run("day", Some("Europe/Paris"), paris).await, 1);
    assert_eq!(run("day", None, paris).await, 0);
}

#[tokio::test]
async fn a_cursor_has_to_exist_and_to_tell_a_time() {
    let folder = Folder::with("in.csv", "a,b\n1.5,true\n");
    let hour = window("2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z");
    for cursor in ["at", "a", "b"] {
        let error = take(&folder.source(json!({ "path": "in.csv", "cursor": cursor })), &hour).await.unwrap_err();
        assert_eq!(error.code(), error::CURSOR_MISSING, "{cursor}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Proves IL2, IL15.
    #[test]
    fn windows_that_tile_a_stretch_partition_its_rows(
        instants in prop::collection::vec(0_i64..10_000, 0..200),
        cuts in prop::collection::btree_set(1_i64..10_000, 0..8),
        as_text: bool,
    ) {
        let rows = instants.iter().enumerate().map(|(id, at)| {
            format!("{id},{}\n", Timestamp::from_microsecond(*at).unwrap())
        });
        let folder = Folder::with("in.csv.gz", gzip(format!("id,at\n{}", rows.collect::<String>())));
        let mut params = json!({ "path": "in.csv.gz", "cursor": "at" });
        if as_text {
            params["as_text"] = json!(true);
        } else {
            params["schema"] = json!({ "id": "int", "at": "timestamp" });
        }
        let source = folder.source(params);
        let bounds: Vec<i64> = std::iter::once(0).chain(cuts).chain([10_000]).collect();
        let mut seen = vec![0; instants.len()];
        let run = tokio::runtime::Runtime::new().unwrap();
        for pair in bounds.windows(2) {
            let window = Window::new(Axis::Time, pair[0], pair[1]).unwrap();
            let taken = run.block_on(take(&source, &window)).unwrap();
            for row in taken.text().lines() {
                let id: usize = row.split(',').next().unwrap().parse().unwrap();
                prop_assert!(window.contains(instants[id]));
                seen[id] += 1;
            }
        }
        prop_assert!(seen.iter().all(|times| *times == 1));
    }
}
