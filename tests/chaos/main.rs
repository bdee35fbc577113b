//! Chaos: real processes, real faults at named moments, and an oracle that reads the result back. `make chaos` runs every
//! cell one after the other; the tests that run always take a dozen of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod cases;
mod cell;
mod course;
mod ground;
mod plot;
mod site;

use cell::{Cell, Fault};
use course::Work;
use windrow_common::failpoint::Point;

/// Proves CL1, CL2, CL3, CL4, CL5, CL6. Each point of the protocol once, with faults and sinks in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_point_of_the_protocol_survives_a_fault() {
    let chosen = [
        (Point::Claimed, Fault::Stop, "delta"),
        (Point::Reading, Fault::Cut, "parquet"),
        (Point::Staging, Fault::Kill, "json"),
        (Point::Staged, Fault::Stop, "delta"),
        (Point::Sealed, Fault::Kill, "parquet"),
        (Point::Prepared, Fault::Kill, "delta"),
        (Point::Intended, Fault::Cut, "json"),
        (Point::Committing, Fault::Stop, "postgres"),
        (Point::Committed, Fault::Kill, "postgres"),
        (Point::Finalizing, Fault::Fail, "delta"),
        (Point::Finalized, Fault::Kill, "json"),
        (Point::Sweeping, Fault::Stop, "parquet"),
    ];
    let cells = chosen.map(|(point, fault, format)| Work::Cell(Cell { point, fault, format }));
    course::run("each_point_of_the_protocol_survives_a_fault", &cells).await;
}

/// Proves CL6, CL17. A part of the other faults: two versions at work together, and a window that kills its workers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbouring_versions_work_together_and_a_deadly_window_harms_no_other() {
    let chosen = ["upgrade-coordinators-first", "poison-task"];
    let works: Vec<Work> = course::all().into_iter().filter(|work| chosen.contains(&work.name().as_str())).collect();
    assert_eq!(works.len(), chosen.len());
    course::run("neighbouring_versions_work_together_and_a_deadly_window_harms_no_other", &works).await;
}

/// Proves CO1, CO3, CO4, CO9, CO10, IL3. A minute of everything that may happen to one table, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_table_is_loaded_rewritten_and_cleaned_beside_other_writers_whoever_dies() {
    let works: Vec<Work> = course::all().into_iter().filter(|work| work.name() == "one-table-1m").collect();
    assert_eq!(works.len(), 1);
    course::run("one_table_is_loaded_rewritten_and_cleaned_beside_other_writers_whoever_dies", &works).await;
}

/// Proves CO8, CO9, CO13, IL3, IL4. The same minute of a folder of files, read by its list all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_folder_is_loaded_rewritten_and_cleaned_before_a_reader_by_its_list_whoever_dies() {
    let works: Vec<Work> = course::all().into_iter().filter(|work| work.name() == "one-folder-1m").collect();
    assert_eq!(works.len(), 1);
    course::run("one_folder_is_loaded_rewritten_and_cleaned_before_a_reader_by_its_list_whoever_dies", &works).await;
}

/// The whole matrix, for `make chaos`: `CELLS=F3-*-delta` chooses, `FRESH=1` begins anew, `SEED=n` varies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes an hour; `make chaos` runs it"]
async fn every_cell_of_the_matrix_holds() {
    course::run("every_cell_of_the_matrix_holds", &course::chosen(course::all())).await;
}
