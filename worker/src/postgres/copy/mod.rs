//! PostgreSQL's binary COPY format into arrow arrays, or cut into rows and left as it is: fed with chunks cut anywhere, and
//! with batches bounded by rows and bytes. A value that has no equal in its arrow type is a flaw of its row, never a null, a
//! wrap or a truncation, unless null was declared for it. No I/O.

mod array;
mod cutter;
mod decoder;
mod form;
mod framer;
mod numeric;
mod text;
mod time;
mod values;

#[cfg(test)]
pub(super) mod tests;

pub use cutter::{END, PLAIN_HEAD};
pub use decoder::{Decoder, Flawed, Limits, StreamError};
pub use form::{Form, Special};
pub use framer::Framer;
pub use values::Flaw;
