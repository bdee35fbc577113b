//! Whoever reads all the time: files by Python, a database by `psql`.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    thread::sleep,
    time::Duration,
};

use serde::Deserialize;
use windrow_tests::{
    peer::Peer,
    postgres::{Postgres, Psql},
    reader,
};

const POLLED: &str = include_str!("../../readers/polled.py");
const PAUSE: Duration = Duration::from_millis(1);

pub(super) enum Reader {
    Files(Peer),
    Database(Arc<Mutex<Seen>>),
}

/// What was seen up to now.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Seen {
    pub(super) looks: u64,
    /// Generations, each time another one came.
    pub(super) order: Vec<u64>,
    /// The first looks that were no generation, in words.
    pub(super) faults: Vec<String>,
}

impl Reader {
    /// Reads a folder or a table; or says what is missing to do so.
    pub(super) fn of_files(format: &str, place: &Path, rows: &[u64]) -> Result<Self, String> {
        let rows: Vec<String> = rows.iter().map(u64::to_string).collect();
        let rows = rows.join(",");
        let python = reader::python()?;
        let peer = Peer::start_with(&python, POLLED, &[format.as_ref(), place.as_os_str(), rows.as_ref()]);
        let mut reader = Self::Files(peer.unwrap());
        // From here on it looks.
        reader.seen();
        Ok(reader)
    }

    /// Asks a database for as long as it is there.
    pub(super) fn of_database(postgres: &Postgres, table: &str, rows: &[u64]) -> Self {
        let query = format!(
            "SELECT generation, count(*), count(DISTINCT id), min(id), max(id) FROM {table} GROUP BY 1 ORDER BY 1"
        );
        let whole = |(generation, rows): (usize, &u64)| format!("{generation}|{rows}|{rows}|0|{}", rows - 1);
        let generations: Vec<String> = rows.iter().enumerate().map(whole).collect();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::downgrade(&seen);
        let mut session = postgres.session().unwrap();
        std::thread::spawn(move || {
            while let Some(seen) = told.upgrade() {
                look(&mut session, &query, &generations, &seen);
                drop(seen);
                sleep(PAUSE);
            }
        });
        Self::Database(seen)
    }

    /// What was seen, the present among it.
    pub(super) fn seen(&mut self) -> Seen {
        match self {
            Self::Files(peer) => serde_json::from_value(peer.ask("seen").unwrap()).unwrap(),
            Self::Database(seen) => {
                let now = || seen.lock().unwrap().clone();
                let looks = now().looks;
                // What is under way may have begun long ago.
                while now().looks < looks + 2 {
                    sleep(PAUSE);
                }
                now()
            }
        }
    }
}

fn look(session: &mut Psql, query: &str, generations: &[String], seen: &Mutex<Seen>) {
    let answer = session.run(query).unwrap_or_else(|error| format!("{error:#}"));
    let found = generations.iter().position(|whole| *whole == answer).map(|generation| generation as u64);
    let mut seen = seen.lock().unwrap();
    match found {
        None if seen.faults.len() < 5 => seen.faults.push(answer),
        None => {}
        Some(generation) if seen.order.last() == Some(&generation) => {}
        Some(generation) => seen.order.push(generation),
    }
    seen.looks += 1;
}
