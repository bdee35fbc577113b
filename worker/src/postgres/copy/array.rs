//! Arrays: a head with dimensions, then the elements. Lists of arrow have one dimension and count from 0, so what an array's
//! first subscript is gets lost, which its type's page says; a second dimension does not fit and is a flaw.

use std::sync::Arc;

use arrow_array::{ArrayRef, ListArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};

use super::{
    form::{Form, Special},
    values::{Flaw, Values, Wrong},
};

/// Lists under construction.
pub(super) struct Lists {
    item: Form,
    values: Box<Values>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Lists {
    pub(super) fn new(item: &Form) -> Self {
        Self {
            item: item.clone(),
            values: Box::new(Values::new(item)),
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn append_null(&mut self) {
        self.end(false);
    }

    /// Appends one list in any case: after a flaw its row is taken out again.
    pub(super) fn append(&mut self, bytes: &[u8], special: Special) -> Result<(), Flaw> {
        let appended = self.elements(bytes, special);
        self.end(true);
        appended
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let field = Arc::new(Form::item_field(&self.item));
        Arc::new(ListArray::new(field, offsets, self.values.finish(), self.nulls.finish()))
    }

    fn end(&mut self, valid: bool) {
        // A batch's bytes are bounded far below this number, and an element takes four of them at least.
        self.offsets.push(i32::try_from(self.values.len()).unwrap_or(i32::MAX));
        self.nulls.append(valid);
    }

    fn elements(&mut self, bytes: &[u8], special: Special) -> Result<(), Flaw> {
        let damaged = || Flaw::of(Wrong::Damaged);
        let mut rest = bytes;
        let dimensions = number(&mut rest).ok_or_else(damaged)?;
        let (_has_nulls, _type) = (number(&mut rest).ok_or_else(damaged)?, number(&mut rest).ok_or_else(damaged)?);
        let count = match dimensions {
            0 => 0,
            1 => {
                let count = number(&mut rest).ok_or_else(damaged)?;
                let _first_subscript = number(&mut rest).ok_or_else(damaged)?;
                count
            }
            more => {
                let reason = format!("an array of {more} dimensions, where a list has one");
                return Err(Flaw::of(Wrong::Unfit(reason)));
            }
        };
        let mut first = None;
        for _ in 0..count {
            let length = number(&mut rest).ok_or_else(damaged)?;
            let element = match usize::try_from(length) {
                Ok(length) => {
                    let (element, after) = rest.split_at_checked(length).ok_or_else(damaged)?;
                    rest = after;
                    Some(element)
                }
                Err(_) => None,
            };
            let appended = self.values.append(element, special);
            first = first.or(appended.err());
        }
        match first {
            Some(flaw) => Err(flaw),
            None if rest.is_empty() => Ok(()),
            None => Err(damaged()),
        }
    }
}

fn number(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}
