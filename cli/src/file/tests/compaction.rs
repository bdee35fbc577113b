//! `compaction`, and pipelines that do nothing else.

use std::num::{NonZeroU32, NonZeroU64};

use windrow_common::{
    compaction::{Clustering, Compaction, Order, When},
    manifest::WriteMode,
    pipeline::Pattern,
    quantity::ByteSize,
};

use super::{SOUND, check, found, load};

/// A pipeline that only compacts, with more at its end.
fn only(more: &str) -> String {
    format!(
        "version: 1\nconnections:\n  lake: {{ type: local, root: /lake }}\npipelines:\n  old:\n    pattern: compact\n    \
         sink: {{ to: lake, format: delta, path: old }}\n{more}"
    )
}

#[test]
fn a_table_of_others_needs_its_place_and_nothing_else() {
    let loaded = load(&only(""));
    assert_eq!(found(&loaded), Vec::<String>::new());
    let pipeline = &loaded.pipelines[0];
    assert_eq!((pipeline.pattern, pipeline.sink.write), (Pattern::Compact, WriteMode::Append));
    assert_eq!(pipeline.compaction.as_deref(), Some(&Compaction::default()));
    assert_eq!(pipeline.source.from, pipeline.sink.to, "it reads what it writes");
    let more = "concurrency: 5, seconds_per_day: 60, cluster_by: { columns: [a, b], order: zorder }";
    let told = load(&only(&format!("    compaction: {{ target_size: 64MiB, min_files: 3, when: inline, {more} }}\n")));
    let expected = Compaction {
        seconds_per_day: NonZeroU64::new(60),
        cluster_by: Some(Clustering { columns: vec!["a".to_owned(), "b".to_owned()], order: Order::Zorder }),
        target_size: ByteSize(64 << 20),
        min_files: 3,
        when: When::Inline,
        concurrency: NonZeroU32::new(5).unwrap(),
        ..Compaction::default()
    };
    assert_eq!(told.pipelines[0].compaction.as_deref(), Some(&expected));
}

#[test]
fn nothing_is_compacted_unless_somebody_says_so() {
    assert!(load(SOUND).pipelines.iter().all(|pipeline| pipeline.compaction.is_none()));
    let loaded = load(&SOUND.replacen("    pattern: full\n", "    pattern: full\n    compaction: {}\n", 1));
    assert_eq!(loaded.pipelines.iter().filter(|pipeline| pipeline.compaction.is_some()).count(), 1);
}

#[test]
fn what_makes_no_sense_is_found_where_it_stands() {
    for (more, expected) in [
        ("    source: { from: lake }\n", "error WR-P009 8:5"),
        ("    window: { every: 1h, start: 2024-01-01 }\n", "error WR-P009 8:5"),
        ("    compaction: { small: 0 }\n", "error WR-P006 8:26"),
        ("    compaction: { small: 1.5 }\n", "error WR-P006 8:26"),
        ("    compaction: { min_files: 1 }\n", "error WR-P006 8:30"),
        ("    compaction: { target_size: 0 }\n", "error WR-P006 8:32"),
        ("    compaction: { concurrency: 0 }\n", "error WR-P006 8:32"),
        ("    compaction: { size: 1GiB }\n", "error WR-P003 8:19"),
        ("    compaction: { when: nightly }\n", "error WR-P006 8:25"),
        ("    compaction: { seconds_per_day: 0 }\n", "error WR-P006 8:36"),
        ("    compaction: { cluster_by: { columns: [] } }\n", "error WR-P006 8:42"),
        ("    compaction: { cluster_by: { columns: [a, b, c, d, e] } }\n", "error WR-P006 8:42"),
        ("    compaction: { cluster_by: { columns: [a, a] } }\n", "error WR-P006 8:42"),
        ("    compaction: { cluster_by: { columns: [a], order: hilbert } }\n", "error WR-P006 8:54"),
        ("    compaction: { cluster_by: { order: zorder } }\n", "error WR-P006 8:19"),
        ("    compaction: { off_hours: { from: \"22:00\", to: \"22:00\" } }\n", "error WR-P009 8:19"),
        ("    compaction: { off_hours: { from: \"26:00\", to: \"06:00\" } }\n", "error WR-P006 8:38"),
        ("    compaction: { when: inline, off_hours: { from: \"22:00\", to: \"06:00\" } }\n", "error WR-P009 8:25"),
        ("    compaction: { off_hours: { from: \"22:00\", to: \"06:00\", timezone: Mars } }\n", "error WR-W001 8:70"),
    ] {
        let loaded = load(&only(more));
        assert_eq!(found(&loaded), [expected], "{more}");
    }
    assert_eq!(found(&load(&only("").replace("path: old", "path: old, write: append"))), ["error WR-P009 7:56"]);
    let clustered = only("    compaction: { cluster_by: { columns: [a, day] } }\n");
    assert_eq!(found(&load(&clustered)), Vec::<String>::new());
    let partitioned = clustered.replace("path: old", "path: old, partition_by: [day]");
    assert_eq!(found(&load(&partitioned)), ["error WR-P009 8:42"]);
    // The fakes serve JSON by a sink of tables; the real one that is asked here keeps files.
    assert_eq!(found(&load(&clustered.replace("delta", "json"))), ["error WR-K042 8:19"]);
    check(&[("    pattern: full\n", "    pattern: compact\n", &["error WR-P009 13:5"])]);
}

#[test]
fn only_tables_whose_files_can_be_rewritten_are_compacted() {
    let with = |format: &str| {
        let sink = format!("format: {format}, path: visits }}\n    compaction: {{}}");
        load(&SOUND.replacen("format: delta, path: visits }", &sink, 1))
    };
    assert_eq!(found(&with("parquet")), Vec::<String>::new());
    let loaded = with("postgres");
    assert_eq!(found(&loaded), ["error WR-K042 11:5"]);
    assert!(loaded.diagnostics[0].fix.as_deref().is_some_and(|fix| fix.contains("format: delta")));
}

#[test]
fn a_table_is_compacted_by_whoever_loads_it_and_in_one_way() {
    let both = format!("{SOUND}  old:\n    pattern: compact\n    sink: {{ to: lake, format: delta, path: visits }}\n");
    let loaded = load(&both);
    assert!(found(&loaded).len() == 1 && found(&loaded)[0].starts_with("error WR-P009"), "{:?}", found(&loaded));
    assert!(loaded.diagnostics[0].fix.as_deref().is_some_and(|fix| fix.contains("`compaction` to `visits`")));
}

#[test]
fn files_of_two_formats_are_not_compacted_in_one_folder() {
    let sink = |format: &str| format!("    pattern: compact\n    sink: {{ to: lake, format: {format}, path: old }}\n");
    let file = |one: &str, two: &str| {
        let head = "version: 1\nconnections:\n  lake: { type: local, root: /lake }\npipelines:\n";
        load(&format!("{head}  a:\n{}  b:\n{}", sink(one), sink(two)))
    };
    assert_eq!(found(&file("json", "json")), Vec::<String>::new());
    assert_eq!(found(&file("json", "delta")), ["error WR-P009 10:31"]);
}
