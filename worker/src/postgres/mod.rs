//! PostgreSQL behind a connection: settings, TLS, sessions, what its errors mean, its catalogue, and its binary COPY
//! format. Sources and sinks of it are built on this; it knows neither them nor tasks.

mod catalog;
pub mod copy;
mod exact;
mod failure;
mod merged;
mod params;
mod quote;
mod session;
mod tables;
#[cfg(test)]
mod tests;
mod tls;

pub use catalog::{Class, Column, Relation, RelationKind, Type, columns_of_query, relation};
pub use exact::{ExactTypes, FORM, exact_types, exact_types_named};
pub use failure::{Kind, kind_of, source_error};
pub use params::{Params, Settings};
pub use quote::{identifier, literal, qualified};
pub use session::Session;
pub use tables::{Listed, ListedColumn, tables};
pub use tls::Tls;

/// The connection type.
pub const CONNECTION: &str = "postgres";
