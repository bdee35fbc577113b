//! Where a database takes rows in there is no point of the protocol: a COPY is under way. Whoever loads is stopped there, and killed.

use std::time::{Duration, Instant};

use windrow_tests::{
    postgres::Postgres,
    process::{Process, run},
};

use super::Course;
use crate::postgres_sink::wait_for_end;

/// So many that a COPY can be met.
const ROWS: [u64; 3] = [20_000, 400_000, 300_001];
/// Sessions that take rows of the pipeline in.
const COPYING: &str = "SELECT count(*) FROM pg_stat_progress_copy c JOIN pg_stat_activity a USING (pid) \
    WHERE a.application_name LIKE 'windrow:%' AND a.query LIKE 'COPY %'";
/// Longer than a COPY needs to come to its end if nobody stops it.
const STILL: Duration = Duration::from_millis(1_500);
/// How long a reader may take for some looks on a machine that is at work.
const HELD_UP: Duration = Duration::from_secs(20);

/// Proves FL4, CL2, CL3. As long as the client stands still inside COPY a reader sees what was there before; so it is when the client is
/// killed there, and the load that goes on shows the new rows, all at once.
#[test]
fn a_load_that_stands_still_or_dies_inside_copy_shows_what_was_there_before() {
    let test = "a_load_that_stands_still_or_dies_inside_copy_shows_what_was_there_before";
    let Some(course) = Course::open(test, "postgres") else { return };
    course.declare("full");
    assert!(run(&["run", course.arg()]).unwrap().status.success());
    let Some(mut reader) = course.reader(test, &ROWS) else { return };
    let postgres = course.postgres.as_ref().unwrap();
    for (generation, rows) in ROWS.into_iter().enumerate().skip(1) {
        course.deliver(generation, rows);
        let request = generation.to_string();
        let args =
            ["backfill", "create", "load", "--reprocess", "all", "--request-id", &request, "--local", course.arg()];
        let mut loading = stopped_inside_copy(&course, postgres, &args);
        let before = reader.seen();
        std::thread::sleep(STILL);
        let since = Instant::now();
        while reader.seen().looks <= before.looks + 5 {
            assert!(since.elapsed() < HELD_UP, "it holds up no reader");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(reader.seen().order, (0..generation as u64).collect::<Vec<_>>());
        assert_ne!(postgres.psql(COPYING).unwrap(), "0", "it stands still inside COPY");
        if generation == 1 {
            loading.kill().unwrap();
            loading = Process::start(&args, &course.path().join("again.log")).unwrap();
        } else {
            loading.cont().unwrap();
        }
        wait_for_end(&mut loading);
        assert!(loading.ended().unwrap().unwrap().success(), "{}", loading.log());
        assert_eq!(reader.seen().order, (0..=generation as u64).collect::<Vec<_>>());
    }
    let seen = reader.seen();
    assert!(seen.faults.is_empty(), "{:?}", seen.faults);
}

/// The command, standing still with a COPY of its under way.
fn stopped_inside_copy(course: &Course, postgres: &Postgres, args: &[&str]) -> Process {
    let mut looking = postgres.session().unwrap();
    let mut loading = Process::start(args, &course.path().join("log")).unwrap();
    loop {
        assert!(loading.ended().unwrap().is_none(), "no COPY was met: {}", loading.log());
        if looking.run(COPYING).unwrap() == "0" {
            continue;
        }
        loading.stop().unwrap();
        // It may have been over a moment before.
        std::thread::sleep(Duration::from_millis(200));
        if looking.run(COPYING).unwrap() != "0" {
            return loading;
        }
        loading.cont().unwrap();
    }
}
