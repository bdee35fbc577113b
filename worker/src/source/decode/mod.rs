//! From rows whose fields are text to the arrow rows of a window: what sources that read text have in common. It may not
//! know where rows come from.

pub(in crate::source) mod cursor;
pub(in crate::source) mod emit;
pub(in crate::source) mod faults;
pub(in crate::source) mod json;
pub(in crate::source) mod rows;
pub(in crate::source) mod table;
pub(in crate::source) mod time;
pub(in crate::source) mod types;
pub(in crate::source) mod values;
