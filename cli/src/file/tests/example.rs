//! The examples of the repository and the JSON Schema.
