//! A full load's table and the view that shows it, switched within the commit's transaction. Where the view cannot take on
//! the new columns it is dropped and made anew, and with it the views that rest on it, each with its grants, options and
//! comment; or the change is refused with the name of what does not fit.

use tokio_postgres::{Client, Error, Row};
use windrow_common::intent::IntentBody;

use super::{
    change::{Change, NewColumn},
    commit::Trouble,
    failure::in_words,
    load::Loaded,
    params::Name,
    session::Open,
};
use crate::{
    error::{Result, WorkerError},
    postgres::{RelationKind, identifier, literal, qualified, relation},
};

/// Most views that may rest on a view that is made anew.
const MOST_VIEWS: usize = 1_000;

/// A version to be shown.
pub(super) struct Version<'a> {
    pub(super) change: &'a Change,
    pub(super) body: &'a IntentBody,
    pub(super) loaded: &'a Loaded,
}

impl Version<'_> {
    /// The loaded table takes its place beside the older ones, and the view shows it. Returns its rows.
    pub(super) async fn show(&self, open: &Open) -> Result<u64, Trouble> {
        let (client, name, rows) = (open.client(), &self.change.name, self.loaded.rows);
        let version = name.version(self.body.seq);
        if relation(client, &version.schema, &version.table).await?.is_some() {
            return Err(Trouble::Unfit(format!(
                "{version} is there already, left from another history: drop or rename it"
            )));
        }
        let sink = literal(self.body.sink.as_str());
        let statements = format!(
            "ALTER TABLE windrow_stage.{} RENAME TO {}; ALTER TABLE windrow_stage.{} SET SCHEMA {}; \
             INSERT INTO windrow.version (sink, seq, schema_name, table_name, rows) \
             VALUES ({sink}, {}, {}, {}, {rows})",
            identifier(&self.loaded.first.name),
            identifier(&version.table),
            identifier(&version.table),
            identifier(&version.schema),
            self.body.seq,
            literal(&version.schema),
            literal(&version.table),
        );
        client.batch_execute(&statements).await?;
        if let Some(reason) = foreign(client, name, self.body.sink.as_str(), self.body.seq).await? {
            return Err(Trouble::Unfit(reason));
        }
        switch(client, self.change, &version).await?;
        Ok(rows)
    }
}

/// Has the view show a table that has the change's columns.
pub(super) async fn switch(client: &Client, change: &Change, version: &Name) -> Result<(), Trouble> {
    let columns = change.columns.iter().map(|column| identifier(&column.name)).collect::<Vec<_>>().join(", ");
    let select = format!("SELECT {columns} FROM {}", version.quoted());
    let view = change.name.quoted();
    // Definitions are told with all names in full, and whoever reads for long delays the switch, not other readers.
    client
        .batch_execute("SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = 1000; SAVEPOINT before_view")
        .await?;
    match client.batch_execute(&format!("CREATE OR REPLACE VIEW {view} AS {select}")).await {
        Ok(()) => return Ok(()),
        // A column is gone, or has another name, place or type.
        Err(cause) if cause.code().is_some_and(|code| code.code() == "42P16") => {}
        Err(cause) => return Err(cause.into()),
    }
    client.batch_execute("ROLLBACK TO SAVEPOINT before_view").await?;
    let views = views_of(client, &change.name).await?;
    let drops: Vec<String> = views.iter().rev().map(|view| format!("DROP VIEW {}", view.name())).collect();
    if let Err(cause) = client.batch_execute(&drops.join("; ")).await {
        return Err(depended_upon(cause, &change.name));
    }
    for (depth, found) in views.iter().enumerate() {
        let (definition, kept) = match depth {
            0 => (select.as_str(), Some(&change.columns)),
            _ => (found.definition.as_str(), None),
        };
        if let Err(cause) = client.batch_execute(&found.remade(definition, kept.map(Vec::as_slice))).await {
            return Err(remake_failed(cause, found, &change.name));
        }
    }
    Ok(())
}

/// Why the name is not a view that windrow made for this sink, if it is something else. The version `but` does not count: it
/// is being made.
pub(super) async fn foreign(client: &Client, name: &Name, sink: &str, but: u64) -> Result<Option<String>, Error> {
    let Some(found) = relation(client, &name.schema, &name.table).await? else { return Ok(None) };
    if found.kind != RelationKind::View {
        return Ok(Some(format!(
            "{name} is a table, and a full load shows its versions by a view of that name: rename or drop the table"
        )));
    }
    let known: bool = client.query_one("SELECT to_regclass('windrow.version') IS NOT NULL", &[]).await?.get(0);
    let ours = known && {
        let query = "SELECT EXISTS (SELECT FROM windrow.version WHERE sink = $1 AND seq <> $2)";
        client.query_one(query, &[&sink, &i64::try_from(but).unwrap_or(i64::MAX)]).await?.get(0)
    };
    Ok((!ours).then(|| format!("{name} is a view that windrow did not make: rename or drop it, or load another name")))
}

/// Rows that readers of the view see; `None` where there is no such view.
pub(super) async fn seen_rows(open: &Open, name: &Name) -> Result<Option<u64>> {
    let failed = |cause| super::failure::failed(cause, open.place());
    let found = relation(open.client(), &name.schema, &name.table).await.map_err(failed)?;
    if found.is_none_or(|found| found.kind != RelationKind::View) {
        return Ok(None);
    }
    let count = format!("SELECT count(*) FROM {}", name.quoted());
    let count: i64 = open.client().query_one(&count, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)?;
    Ok(u64::try_from(count).ok())
}

/// Rows of the newest version, which is the one the view shows; `None` before the first.
pub(super) async fn newest_rows(open: &Open, sink: &str) -> Result<Option<u64>> {
    const NEWEST: &str = "SELECT rows FROM windrow.version WHERE sink = $1 ORDER BY seq DESC LIMIT 1";
    let failed = |cause| super::failure::failed(cause, open.place());
    let known = open.client().query_one("SELECT to_regclass('windrow.version') IS NOT NULL", &[]).await;
    if !known.and_then(|row| row.try_get(0)).map_err(failed)? {
        return Ok(None);
    }
    let newest = open.client().query_opt(NEWEST, &[&sink]).await.map_err(failed)?;
    let rows = newest.map(|row| row.try_get::<_, i64>(0)).transpose().map_err(failed)?;
    Ok(rows.map(i64::unsigned_abs))
}

/// A view as it was, with all that has to be made anew.
struct View {
    schema: String,
    table: String,
    definition: String,
    /// `security_barrier=true` and the like.
    options: Vec<String>,
    owner: String,
    comment: Option<String>,
    grants: Vec<Grant>,
}

struct Grant {
    /// Where it is of one column.
    column: Option<String>,
    statement: String,
}

impl View {
    fn name(&self) -> String {
        qualified(&self.schema, &self.table)
    }

    /// The statements that make it again. What was granted on a column that is not among `columns` goes with it.
    fn remade(&self, definition: &str, columns: Option<&[NewColumn]>) -> String {
        let name = self.name();
        let options = match self.options.as_slice() {
            [] => String::new(),
            options => format!(" WITH ({})", options.join(", ")),
        };
        let mut statements = vec![format!("CREATE VIEW {name}{options} AS {}", definition.trim_end_matches(';'))];
        statements.push(format!("ALTER VIEW {name} OWNER TO {}", identifier(&self.owner)));
        let stays = |grant: &&Grant| match (&grant.column, columns) {
            (Some(column), Some(columns)) => columns.iter().any(|known| known.name == *column),
            _ => true,
        };
        let grants = self.grants.iter().filter(stays);
        statements.extend(grants.map(|grant| grant.statement.replace("%VIEW%", &name)));
        if let Some(comment) = &self.comment {
            statements.push(format!("COMMENT ON VIEW {name} IS {}", literal(comment)));
        }
        statements.join("; ")
    }
}

/// The view and those that rest on it, each after what it rests on.
async fn views_of(client: &Client, name: &Name) -> Result<Vec<View>, Trouble> {
    let found = client.query(VIEWS, &[&name.quoted()]).await?;
    if found.len() > MOST_VIEWS {
        return Err(Trouble::Unfit(format!("more than {MOST_VIEWS} views rest on {name}")));
    }
    let mut views = Vec::with_capacity(found.len());
    for row in &found {
        let name_of: String = row.get("shown");
        if row.get("acts") {
            return Err(Trouble::Unfit(format!(
                "the columns of {name} change, and {name_of} has triggers or rules, which would be lost: drop them, and \
                 make them again after the load"
            )));
        }
        if row.get::<_, String>("kind") != "v" {
            return Err(Trouble::Unfit(format!(
                "the columns of {name} change, and {name_of} rests on it, which is no plain view: drop it, and make it \
                 again after the load"
            )));
        }
        views.push(view(client, row).await?);
    }
    Ok(views)
}

async fn view(client: &Client, row: &Row) -> Result<View, Error> {
    let oid: u32 = row.get("oid");
    let grants = client.query(GRANTS, &[&oid]).await?;
    let grants = grants.iter().map(|grant| Grant { statement: grant.get(0), column: grant.get(1) }).collect();
    Ok(View {
        schema: row.get("schema"),
        table: row.get("name"),
        definition: row.get("definition"),
        options: row.get::<_, Option<Vec<String>>>("options").unwrap_or_default(),
        owner: row.get("owner"),
        comment: row.get("comment"),
        grants,
    })
}

const VIEWS: &str = "WITH RECURSIVE resting (oid, depth) AS (\
    SELECT to_regclass($1)::oid, 0 UNION \
    SELECT r.ev_class, resting.depth + 1 FROM resting \
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = resting.oid \
        AND d.classid = 'pg_rewrite'::regclass \
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> resting.oid WHERE resting.depth < 100) \
    SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.oid::regclass::text AS shown, \
    c.relkind::text AS kind, CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) ELSE '' END AS definition, \
    c.reloptions AS options, pg_get_userbyid(c.relowner)::text AS owner, \
    obj_description(c.oid, 'pg_class') AS comment, \
    EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
        OR c.relkind = 'v' AND EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN') \
        AS acts \
    FROM (SELECT oid, max(depth) AS depth FROM resting GROUP BY oid) r JOIN pg_class c ON c.oid = r.oid \
    JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY r.depth, c.oid";

/// Statements that give again what was given, on the view and on single columns.
const GRANTS: &str = "SELECT format('GRANT %s%s ON %%VIEW%% TO %s%s', g.privilege_type, \
        CASE WHEN g.attname IS NULL THEN '' ELSE format(' (%I)', g.attname) END, \
        CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END, \
        CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), g.attname::text \
    FROM (SELECT a.privilege_type, a.grantee, a.is_grantable, NULL::name AS attname, c.relowner \
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE c.oid = $1 \
        UNION ALL SELECT a.privilege_type, a.grantee, a.is_grantable, t.attname, c.relowner \
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN LATERAL aclexplode(t.attacl) a \
        WHERE c.oid = $1 AND NOT t.attisdropped) g \
    WHERE g.grantee <> g.relowner ORDER BY g.attname NULLS FIRST, g.privilege_type";

/// Something that is no view rests on it: a function, a policy.
fn depended_upon(cause: Error, name: &Name) -> Trouble {
    match cause.as_db_error() {
        Some(found) if found.code().code() == "2BP01" => {
            let what = found.detail().unwrap_or(found.message()).replace('\n', ", ");
            Trouble::Unfit(format!("the columns of {name} change, and what rests on it cannot be made anew: {what}"))
        }
        _ => Trouble::Database(cause),
    }
}

fn remake_failed(cause: Error, view: &View, name: &Name) -> Trouble {
    match cause.as_db_error() {
        // A statement's own fault: a column that is gone, a type that does not fit any more.
        Some(found) if found.code().code().starts_with("42") => Trouble::Unfit(format!(
            "the columns of {name} change, and the view {} does not fit the new ones: {}",
            view.name().replace('"', ""),
            in_words(found)
        )),
        _ => Trouble::Database(cause),
    }
}

/// The same as an error, for those who look before anything is written.
pub(super) async fn check_foreign(open: &Open, name: &Name, sink: &str) -> Result<()> {
    let reason = foreign(open.client(), name, sink, 0).await;
    match reason.map_err(|cause| super::failure::failed(cause, open.place()))? {
        None => Ok(()),
        Some(reason) => {
            Err(WorkerError::never(windrow_common::error::SINK_UNSUPPORTED, reason).at(open.place().to_owned()))
        }
    }
}
