//! Which files there are, and what is told about them.

use std::collections::BTreeSet;

use arrow_array::{Int64Array, StringArray, cast::AsArray, types::Int64Type};

use super::*;

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    batch(vec![
        ("n", Arc::new(Int64Array::from_iter_values(range.clone()))),
        ("p", Arc::new(StringArray::from_iter_values(range.map(|n| format!("value {}", n % 200))))),
    ])
}

#[tokio::test]
async fn what_is_told_about_a_file_is_what_it_is() {
    for format in [parquet(), FileFormat::JsonLines, FileFormat::Csv { delimiter: b',', header: true }] {
        let place = Place::new();
        let given = numbers(0..50_000);
        let staged =
            stage(&place.storage, &layout(given.schema(), format), &attempt(), rows(vec![given])).await.unwrap();
        assert_eq!(staged.len(), 1);
        let bytes = place.read(&staged[0]);
        assert_eq!((staged[0].bytes, staged[0].sha256), (bytes.len() as u64, sha256(&bytes)));
        assert_eq!((staged[0].rows, staged[0].window), (50_000, attempt().window));
        let name = StagedName::parse(&staged[0].path).unwrap();
        assert!(name.belongs_to(&attempt().task, attempt().token));
        assert!(staged[0].path.starts_with("data/part-abababababababab-e1-t42-0-"), "{}", staged[0].path);
    }
}

#[tokio::test]
async fn large_files_go_up_in_parts_and_hash_the_same() {
    let place = Place::new();
    let noise: Vec<String> = (0..60_000_u64).map(|n| format!("{:x}", Sha256::digest(n.to_be_bytes()))).collect();
    let given = batch(vec![("noise", Arc::new(StringArray::from_iter_values(&noise)))]);
    let batches = vec![given.clone(), given.clone(), given.clone(), given];
    let layout = layout(batches[0].schema(), FileFormat::JsonLines);
    let staged = stage(&place.storage, &layout, &attempt(), rows(batches)).await.unwrap();
    let bytes = place.read(&staged[0]);
    assert!(bytes.len() > 3 * upload::PART_BYTES);
    assert_eq!((staged[0].bytes, staged[0].sha256), (bytes.len() as u64, sha256(&bytes)));
}

#[tokio::test]
async fn two_attempts_never_write_the_same_file() {
    let place = Place::new();
    let mut paths = BTreeSet::new();
    for revision in [42, 42, 43] {
        let attempt = Attempt { token: Token { epoch: 1, revision }, ..attempt() };
        let given = numbers(0..10);
        let staged =
            stage(&place.storage, &layout(given.schema(), parquet()), &attempt, rows(vec![given])).await.unwrap();
        paths.insert(staged[0].path.clone());
    }
    assert_eq!(paths.len(), 3);
}

#[tokio::test]
async fn files_are_ended_at_their_target_size_and_no_row_is_lost() {
    for format in [parquet(), FileFormat::JsonLines] {
        let place = Place::new();
        let given: Vec<_> = (0..10).map(|n| numbers(n * 20_000..(n + 1) * 20_000)).collect();
        let layout = Layout { target_bytes: 200_000, ..layout(given[0].schema(), format) };
        let staged = stage(&place.storage, &layout, &attempt(), rows(given)).await.unwrap();
        assert!(staged.len() > 2, "{}", staged.len());
        assert_eq!(staged.iter().map(|file| file.rows).sum::<u64>(), 200_000);
        assert!(staged.iter().all(|file| file.bytes < 800_000), "{staged:?}");
        let numbers: Vec<u32> = staged.iter().map(|file| StagedName::parse(&file.path).unwrap().number).collect();
        assert_eq!(numbers, (0..staged.len() as u32).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn rows_of_many_partitions_stay_whole_within_few_open_files() {
    let place = Place::new();
    let given: Vec<_> = (0..4).map(|n| numbers(n * 1_000..(n + 1) * 1_000)).collect();
    let layout = Layout { partition_by: vec!["p".to_owned()], ..layout(given[0].schema(), parquet()) };
    let staged = stage(&place.storage, &layout, &attempt(), rows(given)).await.unwrap();
    let mut found: Vec<i64> = Vec::new();
    for file in &staged {
        let value = file.partition["p"].clone().unwrap();
        assert!(file.path.starts_with(&format!("data/{}/part-", hive_folder("p", Some(&value)))), "{}", file.path);
        for batch in read_parquet(place.read(file)) {
            assert_eq!(batch.num_columns(), 1);
            let numbers = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
            assert!(numbers.iter().all(|n| format!("value {}", n % 200) == value));
            found.extend(numbers);
        }
    }
    found.sort_unstable();
    assert_eq!(found, (0..4_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn odd_partition_values_become_folders_that_lead_back_to_them() {
    let odd =
        ["a/b", "..", "a=b", "50%", "sp ace", "Zürich", "q\"uote", "line\nend", "a:b*c?", "{x}", "\u{1F600}", "%2F"];
    let mut values: Vec<Option<&str>> = odd.iter().copied().map(Some).collect();
    values.push(None);
    let place = Place::new();
    let given = batch(vec![
        ("odd", Arc::new(StringArray::from(values.clone()))),
        ("n", Arc::new(Int64Array::from_iter_values(0..values.len() as i64))),
    ]);
    let layout = Layout { partition_by: vec!["odd".to_owned()], ..layout(given.schema(), parquet()) };
    let staged = stage(&place.storage, &layout, &attempt(), rows(vec![given])).await.unwrap();
    assert_eq!(staged.len(), values.len());
    for file in &staged {
        assert_eq!(file.path.split('/').count(), 3, "{}", file.path);
        let folder = file.path.split('/').nth(1).unwrap().strip_prefix("odd=").unwrap();
        let query = format!("v={}", folder.replace('+', "%2B"));
        let decoded = url::form_urlencoded::parse(query.as_bytes()).next().unwrap().1;
        let decoded = (folder != "__HIVE_DEFAULT_PARTITION__").then(|| decoded.into_owned());
        assert_eq!(decoded, file.partition["odd"]);
        let batches = read_parquet(place.read(file));
        let row = batches[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(values[row as usize].map(str::to_owned), file.partition["odd"]);
    }
    manifest::verify_files(&place.storage, &staged).await.unwrap();
}

#[tokio::test]
async fn statistics_are_those_of_the_file() {
    let place = Place::new();
    let given: Vec<_> = (0..3).map(|n| numbers(n * 10_000..(n + 1) * 10_000)).collect();
    let layout = Layout { stats: true, ..layout(given[0].schema(), parquet()) };
    let staged = stage(&place.storage, &layout, &attempt(), rows(given)).await.unwrap();
    let stats = staged[0].stats.as_ref().unwrap();
    assert_eq!(
        stats,
        &json!({
            "numRecords": 30_000,
            "minValues": { "n": 0, "p": "value 0" },
            "maxValues": { "n": 29_999, "p": "value 99" },
            "nullCount": { "n": 0, "p": 0 },
        })
    );
}

#[tokio::test]
async fn no_rows_make_no_file() {
    let place = Place::new();
    let empty = numbers(0..0);
    let layout = layout(empty.schema(), parquet());
    assert_eq!(stage(&place.storage, &layout, &attempt(), rows(vec![empty])).await.unwrap(), []);
    assert_eq!(place.all_files(), Vec::<String>::new());
}
