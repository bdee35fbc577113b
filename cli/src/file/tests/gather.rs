//! `gather` of a sink.

use windrow_common::{gather::Gather, quantity::ByteSize};

use super::{SOUND, check, found, load};

/// What the incremental pipeline of the sound file gathers by.
fn gather(said: &str) -> Option<Gather> {
    let loaded = load(&SOUND.replacen("path: visits }", &format!("path: visits, {said} }}"), 1));
    assert_eq!(found(&loaded), Vec::<String>::new(), "{said}");
    loaded.pipelines[0].sink.gather
}

#[test]
fn windows_are_gathered_up_to_the_size_of_a_file_unless_another_is_given() {
    let expected = |wait: &str, size| Some(Gather { wait: wait.parse().unwrap(), size: ByteSize(size) });
    assert_eq!(gather("gather: { wait: 1m }"), expected("1m", 128 << 20));
    assert_eq!(gather("gather: { wait: 10m, size: 4MiB }"), expected("10m", 4 << 20));
    assert_eq!(gather("gather: { wait: 1s, size: 7 }"), expected("1s", 7));
    assert!(load(SOUND).pipelines.iter().all(|pipeline| pipeline.sink.gather.is_none()), "nobody has asked for it");
}

#[test]
fn what_makes_no_sense_is_found_where_it_stands() {
    check(&[
        ("path: visits }", "path: visits, gather: { wait: 11m } }", &["error WR-P006 10:68"]),
        ("path: visits }", "path: visits, gather: { wait: 999ms } }", &["error WR-P006 10:68"]),
        ("path: visits }", "path: visits, gather: { wait: 5 } }", &["error WR-P006 10:68"]),
        ("path: visits }", "path: visits, gather: { wait: 1m, size: 0 } }", &["error WR-P006 10:78"]),
        ("path: visits }", "path: visits, gather: { wait: 1m, size: big } }", &["error WR-P006 10:78"]),
        ("path: visits }", "path: visits, gather: { wait: 1m, rows: 5 } }", &["error WR-P003 10:72"]),
        ("path: visits }", "path: visits, gather: { size: 1MiB } }", &["error WR-P005 10:52"]),
        ("path: visits }", "path: visits, gather: 1m }", &["error WR-P006 10:52"]),
        ("path: devices }", "path: devices, gather: { wait: 1m } }", &["error WR-P009 14:53"]),
    ]);
    let compacts = "version: 1\nconnections:\n  lake: { type: local, root: /lake }\npipelines:\n  old:\n    pattern: compact\n    \
                    sink: { to: lake, format: delta, path: old, gather: { wait: 1m } }\n";
    assert_eq!(found(&load(compacts)), ["error WR-P009 7:49"]);
}
