//! The catalogue of error codes. Every error a user can meet has a code here and a page `docs/errors/<code>.md` that
//! says what it means, where it comes from and what to do; a test holds catalogue and pages together.
//!
//! Letters: `C` command line and configuration, `P` pipeline file, `W` windows, `S` source, `T` transform, `K` sink,
//! `L` ledger and store, `N` network and sessions.

use std::fmt;

/// An error's code and its meaning in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    pub code: &'static str,
    pub meaning: &'static str,
}

macro_rules! catalogue {
    ($($name:ident = $code:literal: $meaning:literal;)*) => {
        $(pub const $name: ErrorCode = ErrorCode { code: $code, meaning: $meaning };)*
        /// All codes, in the order of the pages.
        pub const CATALOGUE: &[ErrorCode] = &[$($name),*];
    };
}

catalogue! {
    USAGE = "WR-C001": "the command line does not make sense";
    UNREACHABLE = "WR-C002": "no coordinator could be reached";
    NOT_FOUND = "WR-C003": "the named thing does not exist";
    CONFLICT = "WR-C004": "the thing is in a state that does not allow this";
    FILE_UNREADABLE = "WR-P001": "a pipeline file cannot be read";
    NOT_YAML = "WR-P002": "a pipeline file is not well-formed YAML";
    UNKNOWN_KEY = "WR-P003": "a key is not known here";
    DUPLICATE_KEY = "WR-P004": "a key is given twice";
    MISSING_KEY = "WR-P005": "a required key is missing";
    BAD_VALUE = "WR-P006": "a value has the wrong type or form";
    UNKNOWN_CONNECTION = "WR-P007": "a connection is not declared";
    UNKNOWN_CONNECTOR = "WR-P008": "no connector serves this connection or format";
    CONTRADICTION = "WR-P009": "two settings contradict each other";
    SECRET_UNRESOLVED = "WR-P010": "a secret reference cannot be resolved";
    SECRET_IN_FILE = "WR-P011": "a secret is written in the file instead of referred to";
    SPEC_TOO_LARGE = "WR-P012": "a pipeline is too large for the ledger";
    BAD_WINDOW = "WR-W001": "the windows cannot be planned";
    WINDOW_TOO_WIDE = "WR-W002": "a window is wider than the partition it fills";
    RANGE_TOO_LARGE = "WR-W003": "a backfill would run more windows than allowed";
    BAD_RANGE = "WR-W004": "a range is empty or lies outside the pipeline";
    LATE_ROWS = "WR-W005": "rows may come after their window was read";
    WINDOW_STALE = "WR-W006": "the source of a published window has changed";
    LATE_HELD = "WR-W007": "a closed window's source has changed, and that is held";
    LATE_MIXED = "WR-W008": "what came late to a closed window cannot be told apart";
    SOURCE_MISSING = "WR-S001": "nothing is found where the source should be";
    SOURCE_UNREADABLE = "WR-S002": "the source cannot be reached or read";
    SOURCE_CORRUPT = "WR-S003": "an input is damaged";
    ROW_MALFORMED = "WR-S004": "a row does not have the shape of its schema";
    VALUE_MALFORMED = "WR-S005": "a value does not fit its type";
    SCHEMA_MISMATCH = "WR-S006": "the input's schema is not the declared one";
    CURSOR_MISSING = "WR-S007": "the cursor column is missing, null or of no usable type";
    TOO_MANY_REJECTED = "WR-S008": "more rows were rejected than the limit allows";
    SOURCE_CHANGED = "WR-S009": "an input changed while it was read";
    INPUT_TOO_LARGE = "WR-S010": "an input is past a safety limit";
    SOURCE_FORBIDDEN = "WR-S011": "the source may not be read";
    SOURCE_OPEN = "WR-S012": "rows may still be added to the window in the source";
    SOURCE_REFUSED = "WR-S013": "the source refuses what it is asked";
    SNAPSHOT_LOST = "WR-S014": "the snapshot that shards are read from is gone";
    PAGES_LOOP = "WR-S020": "the pages of an API do not end";
    NOT_READY = "WR-S030": "a window's input is not complete yet";
    NOT_READY_IN_TIME = "WR-S031": "a window's input was not complete in time";
    NOTHING_PROVES = "WR-S050": "the source cannot prove what it holds";
    KEYS_UNKNOWN = "WR-S051": "the keys that the source has cannot be told";
    BAD_SQL = "WR-T001": "the SQL of a transform is not valid";
    NOT_ROW_WISE = "WR-T002": "a transform needs its windows one by one";
    OUT_OF_MEMORY = "WR-T003": "a transform or a sort needs more memory than it may take";
    SQL_FAILED = "WR-T004": "the SQL of a transform failed on the data";
    SINK_UNREACHABLE = "WR-K001": "the sink cannot be reached";
    SINK_FORBIDDEN = "WR-K002": "the sink may not be written";
    SINK_FULL = "WR-K003": "no space is left";
    SINK_SCHEMA = "WR-K004": "the rows do not fit the table's schema";
    SINK_UNSUPPORTED_TYPE = "WR-K005": "the sink has no form for a type";
    SINK_UNSUPPORTED = "WR-K006": "the sink cannot do what the pipeline asks";
    SINK_CONFLICT = "WR-K007": "somebody else changed the table";
    SINK_FORKED = "WR-K008": "the sink holds another history than the ledger";
    SINK_ROLLED_BACK = "WR-K009": "the sink lacks commits the ledger knows of";
    STAGED_FILE_BAD = "WR-K010": "a staged file is missing or not what was sealed";
    SINK_BROKEN = "WR-K011": "the table's own records cannot be read";
    SINK_UNCONDITIONAL = "WR-K012": "the store does not honour conditional writes";
    SINK_HISTORY = "WR-K013": "the sink's record of its commits is not complete";
    KEY_MISSING = "WR-K014": "a row has no key, or nothing tells whether it is newer";
    NOT_VERBATIM = "WR-K015": "rows cannot travel as they are";
    NO_LINE = "WR-K016": "a text is not one line";
    GUARDED = "WR-K020": "a load is not what its guard expects";
    TOO_MANY_DELETED = "WR-K021": "a comparison of keys would delete more than it may";
    VERSION_GONE = "WR-K030": "the version to go back to is not kept";
    NO_VERSIONS = "WR-K031": "the pipeline has no versions to go back to";
    GROUP_DIFFERS = "WR-K040": "rewritten files do not hold the rows of those they are to replace";
    GROUP_GONE = "WR-K041": "files that were to be rewritten are not part of the table any more";
    COMPACTION_UNSUPPORTED = "WR-K042": "the sink's files cannot be compacted";
    PIN_GONE = "WR-K050": "the version to pin is not whole any more, or may not stay so";
    TOO_MANY_PINS = "WR-K051": "a table has as many pins as it may have";
    RETENTION_SHORT = "WR-K052": "files would be cleaned away while somebody may still read them";
    NOTHING_TO_PIN = "WR-K053": "the sink keeps no older versions that could be pinned";
    PIN_BROKEN = "WR-K054": "a pinned version cannot be read, so nothing is cleaned";
    BAD_MARKER = "WR-K060": "a marker has no name that can be looked for";
    EVENT_UNDELIVERED = "WR-K061": "a receiver does not take an event";
    EVENT_FORBIDDEN = "WR-K062": "events may not be sent there, or not with that secret";
    STORE_UNAVAILABLE = "WR-L001": "the store does not answer";
    STORE_FULL = "WR-L002": "the store has no space left";
    STORE_BROKEN = "WR-L003": "the store's content does not make sense";
    STORE_LOCKED = "WR-L004": "another windrow process uses the store";
    NOT_LEADER = "WR-L005": "this coordinator does not lead";
    FENCED = "WR-L006": "the claim has passed to another attempt";
    VERSION_SKEW = "WR-N001": "two versions of windrow do not understand each other";
    SESSION_LOST = "WR-N002": "the session with the coordinator broke";
    FLIGHT_BROKEN = "WR-N003": "a batch stream broke";
    TICKET_REFUSED = "WR-N004": "a ticket is forged, expired or for another task";
    DEADLINE = "WR-N005": "an attempt took longer than it may";
    CANCELLED = "WR-N006": "an attempt was told to stop";
    INTERNAL = "WR-N999": "windrow met a situation it does not know";
}

/// Looks a code up.
pub fn find(code: &str) -> Option<&'static ErrorCode> {
    CATALOGUE.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_given_twice() {
        let mut codes: Vec<_> = CATALOGUE.iter().map(|entry| entry.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CATALOGUE.len());
    }
}
