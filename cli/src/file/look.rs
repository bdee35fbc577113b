//! Conditions that are looked at outside of a pipeline's source: their connections by name become whole, and what cannot be looked at
//! is refused.

use windrow_common::{
    error::{self, ErrorCode},
    look::{At, Question, TableVersion},
    readiness::{Condition, Readiness},
};
use windrow_worker::{postgres::CONNECTION, storage::Storage};

use super::{
    connection::Connections,
    diagnostic::{Findings, Span},
    suggest,
    tree::{Node, Step},
};

/// The pipeline's block.
pub(crate) struct Block<'a> {
    pub(crate) at: Span,
    pub(crate) node: &'a Node,
    pub(crate) connections: &'a Connections<'a>,
}

impl Block<'_> {
    /// The same with whole connections; `None` if something is wrong with a condition.
    pub(crate) fn whole(&self, mut readiness: Readiness, findings: &mut Findings) -> Option<Readiness> {
        let before = findings.errors();
        let require = &mut readiness.require;
        for (list, conditions) in [("all", &mut require.all), ("any", &mut require.any)] {
            for (place, condition) in conditions.iter_mut().enumerate() {
                let path = [Step::Key(list.to_owned()), Step::Index(place)];
                match condition {
                    Condition::Delta(wanted) => self.table(wanted, &path, findings),
                    Condition::Sql(question) => self.question(question, &path, findings),
                    _ => {}
                }
            }
        }
        (findings.errors() == before).then_some(readiness)
    }

    fn table(&self, wanted: &mut TableVersion, path: &[Step], findings: &mut Findings) {
        let span = self.span(path, "delta");
        let mut refuse = |message: &str, fix: &str| {
            findings.error(error::CONTRADICTION, span, message).fix(fix);
        };
        match (wanted.version, wanted.after_end) {
            (Some(_), true) => refuse("`version` and `after_end` wait for different things", "keep one of the two"),
            (None, false) => refuse(
                "nothing says which version is waited for",
                "add `version: 7`, or `after_end: true` for one that is committed after the window's end",
            ),
            (None, true) if self.node.entry("window").is_none() => {
                refuse("a full load has no window that ends", "write `version`");
            }
            _ => {}
        }
        self.resolve(&mut wanted.from, Storage::CONNECTIONS, span, findings);
    }

    fn question(&self, question: &mut Question, path: &[Step], findings: &mut Findings) {
        let span = self.span(path, "sql");
        if question.query.trim().is_empty() {
            let fix = "write a query that answers with true or with a time: `SELECT max(done_to) FROM loads`";
            findings.error(error::BAD_VALUE, span, "`query` asks nothing").fix(fix);
        }
        self.resolve(&mut question.from, &[CONNECTION], span, findings);
    }

    fn resolve(&self, at: &mut At, kinds: &[&str], span: Span, findings: &mut Findings) {
        let At::Name(name) = at else { return };
        let mut wrong = |code: ErrorCode, message: String, fix: String| {
            findings.error(code, span, message).fix(fix);
        };
        let Some(declared) = self.connections.get(name.as_str()) else {
            let fix = match suggest::nearest(name, self.connections.keys().copied()) {
                Some(meant) => format!("write `{meant}`"),
                None => format!("declare `{name}` under `connections`"),
            };
            return wrong(error::UNKNOWN_CONNECTION, format!("there is no connection `{name}`"), fix);
        };
        // What is wrong with a connection is told where it stands.
        let Some(connection) = &declared.connection else { return };
        if !kinds.contains(&connection.kind.as_str()) {
            let message = format!("`{name}` is a connection of type {:?}", connection.kind);
            return wrong(error::CONTRADICTION, message, format!("name one of type {}", kinds.join(" or ")));
        }
        *at = At::Whole(Box::new(connection.clone()));
    }

    fn span(&self, path: &[Step], key: &str) -> Span {
        let start = ["readiness", "require"].map(|key| Step::Key(key.to_owned()));
        let path: Vec<Step> =
            start.into_iter().chain(path.iter().cloned()).chain([Step::Key(key.to_owned())]).collect();
        self.node.place(&path).unwrap_or(self.at)
    }
}
