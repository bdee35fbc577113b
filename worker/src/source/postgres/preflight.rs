//! What a session needs before it reads: each missing grant and setting by its name, and with the statement that mends it.

use windrow_common::error;

use super::params::{Config, RowPolicies};
use crate::{
    error::{Result, WorkerError},
    postgres::{Relation, RelationKind, Session, identifier, qualified, source_error},
};

/// The oldest server whose catalogue and functions we use.
const OLDEST: i32 = 130_000;

/// Settles what is so for every statement of a source.
pub(super) async fn prepare(session: &Session, config: &Config) -> Result<()> {
    let security = match config.row_policies {
        // Then the server fails where it would otherwise leave rows out in silence.
        RowPolicies::Refuse => "off",
        RowPolicies::Apply => "on",
    };
    let failed = |cause| source_error(cause, session.place());
    session.client().batch_execute(&format!("SET row_security = {security}")).await.map_err(failed)?;
    let version = session.client().query_one("SELECT pg_catalog.current_setting('server_version_num')::int4", &[]);
    let version: i32 = version.await.and_then(|row| row.try_get(0)).map_err(failed)?;
    match version >= OLDEST {
        true => Ok(()),
        false => Err(WorkerError::never(error::SOURCE_REFUSED, format!("the server's version {version} is too old"))
            .at(session.place())
            .fix("PostgreSQL 13 and later are served")),
    }
}

/// The relation, if the session may read all of it that is asked for.
pub(super) async fn readable(
    session: &Session,
    found: Option<Relation>,
    (schema, name): (&str, &str),
    config: &Config,
) -> Result<Relation> {
    let failed = |cause| source_error(cause, session.place());
    let Some(found) = found else {
        return Err(WorkerError::never(error::SOURCE_MISSING, format!("there is no table {schema}.{name}"))
            .at(session.place())
            .fix("correct `table`: names are taken as they stand, capitals and all"));
    };
    if found.kind == RelationKind::Other {
        return Err(WorkerError::never(
            error::SOURCE_MISSING,
            format!("{schema}.{name} is neither a table nor a view"),
        )
        .at(session.place())
        .fix("correct `table`"));
    }
    let grants = session.client().query_one(GRANTS, &[&schema, &found.oid]).await.map_err(failed)?;
    let user: String = grants.try_get("user").map_err(failed)?;
    let (usable, policies): (bool, bool) =
        (grants.try_get("usable").map_err(failed)?, grants.try_get("policies").map_err(failed)?);
    let place = session.place();
    if !usable {
        let statement = format!("GRANT USAGE ON SCHEMA {} TO {}", identifier(schema), identifier(&user));
        return Err(forbidden(format!("the user {user:?} may not use the schema {schema}"), place, statement));
    }
    let asked = |name: &str| config.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name));
    let hidden: Vec<_> = found.columns.iter().filter(|column| !column.readable && asked(&column.name)).collect();
    if !hidden.is_empty() {
        let names = |quoted: fn(&str) -> String| hidden.iter().map(|c| quoted(&c.name)).collect::<Vec<_>>().join(", ");
        let relation = qualified(schema, name);
        let (message, what) = match hidden.len() == found.columns.len() {
            true => (format!("the user {user:?} may not read {schema}.{name}"), String::new()),
            false => (
                format!("the user {user:?} may not read columns of {schema}.{name}: {}", names(str::to_owned)),
                format!(" ({})", names(identifier)),
            ),
        };
        let statement = format!("GRANT SELECT{what} ON {relation} TO {}", identifier(&user));
        return Err(forbidden(message, place, statement));
    }
    if policies && config.row_policies == RowPolicies::Refuse {
        let message = format!("row level security hides rows of {schema}.{name} from the user {user:?}");
        return Err(WorkerError::never(error::SOURCE_FORBIDDEN, message)
            .at(place)
            .fix("use a role with BYPASSRLS, or say `row_policies: apply` if these rows are not to be read"));
    }
    Ok(found)
}

/// Policies are asked about as they would be with the usual setting: ours makes the server fail instead.
const GRANTS: &str = "SELECT current_user::pg_catalog.text AS user, \
    pg_catalog.has_schema_privilege($1, 'USAGE') AS usable, \
    c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls OR \
        (pg_catalog.pg_has_role(c.relowner, 'USAGE') AND NOT c.relforcerowsecurity)) AS policies \
    FROM pg_catalog.pg_class c, pg_catalog.pg_roles r WHERE c.oid = $2 AND r.rolname = current_user";

fn forbidden(message: String, place: &str, statement: String) -> WorkerError {
    WorkerError::never(error::SOURCE_FORBIDDEN, message).at(place).fix(statement)
}
