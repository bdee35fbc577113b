//! What cleaning and pins say, and what is refused before anything runs.

use windrow_tests::{reader, skip::skip};

use super::Table;

fn with(cleaning: &str) -> Table {
    Table::declared("python".into(), None, cleaning)
}

/// Proves CO9. `validate` says where a retention is too short, and what to write.
#[test]
fn a_retention_that_is_too_short_is_refused_with_its_place() {
    let refused = |cleaning: &str| {
        let table = with(cleaning);
        let (code, said) = table.said(&["validate", table.arg()], &[]);
        (code, said)
    };
    let (code, said) = refused(", cleaning: { keep: 1d }");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("WR-K052") && said.contains("pipelines.yaml:10:") && said.contains("accept_short"), "{said}");
    let (code, said) = refused(", cleaning: { keep: 6h, accept_short: true }");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("WR-K052") && said.contains("limits.deadline") && said.contains("write 7h or more"),
        "{said}"
    );
    let (code, said) = refused(", cleaning: { keep: 30d, log: 7d }");
    assert!(code == Some(2) && said.contains("WR-P009"), "{said}");
    let (code, said) = refused(", cleaning: { keep: 1d, accept_short: true }");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = refused(", cleaning: { kept: 7d }");
    assert!(code == Some(2) && said.contains("WR-P003"), "{said}");
}

/// Proves CO9. One table is cleaned by one rule, and none that is too short for those who read it.
#[test]
fn a_retention_suits_all_who_write_and_read_the_table() {
    let refused = |more: &str| {
        let table = with(", cleaning: { keep: 7d }");
        let text = std::fs::read_to_string(table.pipelines()).unwrap() + more;
        std::fs::write(table.pipelines(), text).unwrap();
        table.said(&["validate", table.arg()], &[])
    };
    let reader = |deadline: &str| {
        format!(
            "  copies:
    pattern: full
    source: {{ from: lake, format: delta, path: table }}
    sink: {{ to: lake, format: delta, path: copies }}
    limits: {{ deadline: {deadline} }}
"
        )
    };
    assert_eq!(refused(&reader("6h")).0, Some(0));
    let (code, said) = refused(&reader("8d"));
    assert!(code == Some(2) && said.contains("WR-K052") && said.contains("`copies` reads this table"), "{said}");
    let (code, said) = refused(
        "  more:
    pattern: incremental
    source: { from: here, path: input.csv, schema: { id: int, generation: int, at: timestamp }, cursor: at }
    window: { every: 1d, start: 2023-01-01, end: 2023-01-07 }
    sink: { to: lake, format: delta, path: table }
",
    );
    assert!(code == Some(2) && said.contains("WR-P009") && said.contains("clean it by other rules"), "{said}");
}

/// Proves CO9, CO10. A dry run lists what would go, what stops being readable and what pins hold back until when; `plan` tells
/// what becomes of older versions.
#[test]
fn a_dry_run_says_what_would_go_and_what_is_held_until_when() {
    let test = "a_dry_run_says_what_would_go_and_what_is_held_until_when";
    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    let table = Table::published(python, None);
    let plan = table.done(&["plan", table.arg()], &[]);
    assert!(plan.contains("removed files stay 7d") && plan.contains("the log stays 30d"), "{plan}");
    assert!(table.local(&["clean", "days"], &[]).contains("took away 0 files"));
    table.load(1, Some(2));
    table.load(2, Some(2));
    let (newest, held) = (table.newest(), table.newest() - 1);
    let pin = table.pin(&held.to_string()).unwrap();
    let listed = table.local(&["get", "pins"], &[]);
    assert!(listed.contains(&pin) && listed.contains("held") && listed.contains("a test"), "{listed}");
    let later = [("WINDROW_PLAY_DAYS_LATER", "8")];
    let files = table.files();
    let said = table.local(&["clean", "days", "--dry-run"], &later);
    assert!(said.contains("would take away 1 file ") && said.contains("part-"), "{said}");
    assert!(
        said.contains(&format!("versions before {held} would not be whole any more, but for pinned ones")),
        "{said}"
    );
    assert!(said.contains(&format!("version {held} holds back 1 file,")) && said.contains("until 20"), "{said}");
    assert!(said.contains("do it with: windrow clean days"), "{said}");
    assert_eq!(table.files(), files, "nothing was done");
    let said = table.local(&["clean", "days"], &later);
    assert!(said.contains("took away 1 file "), "{said}");
    table.local(&["unpin", &pin], &[]);
    table.local(&["unpin", &pin], &[]);
    assert!(!table.local(&["get", "pins", "days"], &[]).contains(&pin));
    let said = table.local(&["clean", "days"], &later);
    assert!(
        said.contains("took away 1 file ") && said.contains(&format!("versions before {newest} are not whole")),
        "{said}"
    );
}

/// What makes no sense is refused with what to write instead.
#[test]
fn a_pin_that_makes_no_sense_is_refused_with_what_to_write_instead() {
    let table = with("");
    table.done(&["run", table.arg()], &[]);
    let refused = |args: &[&str]| {
        let (code, said) = table.said(&[args, &["--local", table.arg()]].concat(), &[]);
        assert_ne!(code, Some(0), "{args:?}: {said}");
        said
    };
    assert!(refused(&["pin", "days", "--version", "99", "--for", "1d"]).contains("the newest is"));
    assert!(refused(&["pin", "days", "--version", "newest", "--for", "1d"]).contains("is no version"));
    assert!(refused(&["pin", "nobody", "--version", "1", "--for", "1d"]).contains("WR-C003"));
    assert!(refused(&["pin", "days", "--version", "1", "--for", "900d"]).contains("366 days"));
    assert!(refused(&["pin", "days", "--at", "2001-01-01", "--for", "1d"]).contains("WR-K050"));
    assert!(refused(&["pin", "days", "--for", "1d"]).contains("--version"));
    assert!(refused(&["clean", "nobody"]).contains("WR-C003"));
    let twice = ["pin", "days", "--version", "1", "--for", "1d", "--request-id", "again"];
    let first = table.local(&twice, &[]);
    assert_eq!(table.local(&twice, &[]), first, "a repeat finds the first");
    assert_eq!(table.local(&["get", "pins"], &[]).lines().count(), 2);
}
