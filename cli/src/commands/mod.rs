//! One file per verb of the command line, each with its arguments and `run`.

pub mod explain_code;
pub mod schema;
pub mod validate;
