//! The course through the pages of an API: which page comes next, when it is the end, and when the API leads in a
//! circle. It asks for nothing itself.

use std::collections::HashSet;

use windrow_common::error;

use super::pointer::Pointer;
use crate::error::{Result, WorkerError};

/// How pages follow each other.
#[derive(Clone, Debug)]
pub(super) struct Paging {
    pub(super) by: By,
    /// Whether there are more pages, where an answer says so.
    pub(super) more: Option<Pointer>,
    /// How many records there are over all pages, where an answer says so.
    pub(super) total: Option<Pointer>,
    /// The parameter by which a size of page is asked for, and the size.
    pub(super) size: Option<(String, u32)>,
    /// Most pages.
    pub(super) most: u32,
}

#[derive(Clone, Debug)]
pub(super) enum By {
    /// There is one page.
    One,
    /// Pages have numbers.
    Page { param: String, start: u64 },
    /// The next page begins behind the records seen so far.
    Offset { param: String },
    /// Each page tells a token for the next.
    Cursor { param: String, at: Pointer },
    /// Each page tells the address of the next: there, or in its `Link` header.
    Link { at: Option<Pointer> },
}

/// What is asked for next, beside the first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The first request, as it is.
    Plain,
    /// The first request with this parameter.
    With(String, String),
    /// Another address.
    Follow(String),
}

/// What a page says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) records: u64,
    /// Of the records' text.
    pub(super) digest: [u8; 32],
    /// The token or the address of the next.
    pub(super) next: Option<String>,
    pub(super) more: Option<bool>,
    pub(super) total: Option<u64>,
}

/// Where on the way we are.
pub(super) struct Course<'a> {
    paging: &'a Paging,
    pages: u32,
    records: u64,
    /// Tokens and addresses already followed.
    followed: HashSet<[u8; 32]>,
    last: Option<[u8; 32]>,
}

impl<'a> Course<'a> {
    pub(super) fn new(paging: &'a Paging) -> Self {
        Self { paging, pages: 0, records: 0, followed: HashSet::new(), last: None }
    }

    /// Pages that were read.
    pub(super) fn pages(&self) -> u32 {
        self.pages
    }

    /// Where the first page is.
    pub(super) fn first(&self) -> Step {
        match &self.paging.by {
            By::Page { param, start } => Step::With(param.clone(), start.to_string()),
            By::Offset { param } => Step::With(param.clone(), "0".to_owned()),
            By::One | By::Cursor { .. } | By::Link { .. } => Step::Plain,
        }
    }

    /// Where the next page is, after this one; `None` at the end.
    pub(super) fn after(&mut self, page: &Found) -> Result<Option<Step>> {
        self.pages += 1;
        self.records += page.records;
        let step = self.step(page)?;
        if step.is_none() {
            return self.check_total(page).map(|()| None);
        }
        if page.records > 0 && self.last.replace(page.digest) == Some(page.digest) {
            return Err(looped("a page holds the same records as the one before"));
        }
        if self.pages >= self.paging.most {
            let message = format!("there are more pages than {}", self.paging.most);
            return Err(WorkerError::never(error::INPUT_TOO_LARGE, message)
                .fix("narrow what is asked for by the window, ask for larger pages, or raise `limits.pages`"));
        }
        Ok(step)
    }

    fn step(&mut self, page: &Found) -> Result<Option<Step>> {
        let all_here = page.total.is_some_and(|total| self.records >= total);
        if page.more == Some(false) || all_here {
            return Ok(None);
        }
        let ends_when_empty = page.records == 0 && page.more.is_none();
        match &self.paging.by {
            By::One => Ok(None),
            By::Page { .. } | By::Offset { .. } if ends_when_empty => Ok(None),
            By::Page { param, start } => {
                Ok(Some(Step::With(param.clone(), (start + u64::from(self.pages)).to_string())))
            }
            By::Offset { .. } if page.records == 0 => Err(looped("a page without records says that more follow")),
            By::Offset { param } => Ok(Some(Step::With(param.clone(), self.records.to_string()))),
            By::Cursor { param, .. } => {
                let token = self.followed_once(page.next.as_deref(), "token")?;
                Ok(token.map(|token| Step::With(param.clone(), token)))
            }
            By::Link { .. } => Ok(self.followed_once(page.next.as_deref(), "address")?.map(Step::Follow)),
        }
    }

    /// The token or address, unless it was followed before.
    fn followed_once(&mut self, next: Option<&str>, what: &str) -> Result<Option<String>> {
        let Some(next) = next.filter(|next| !next.is_empty()) else { return Ok(None) };
        match self.followed.insert(*blake3::hash(next.as_bytes()).as_bytes()) {
            true => Ok(Some(next.to_owned())),
            false => Err(looped(&format!("the same {what} of a next page is told twice"))),
        }
    }

    /// What the last page says there is must be what was read: pages shift when records come or go in between.
    fn check_total(&self, page: &Found) -> Result<()> {
        match page.total {
            Some(total) if total != self.records => Err(WorkerError::later(
                error::SOURCE_CHANGED,
                format!("{} records came where the API counts {total}: some came or went meanwhile", self.records),
            )
            .fix("read a window that is closed, or page by cursor")),
            _ => Ok(()),
        }
    }
}

fn looped(what: &str) -> WorkerError {
    WorkerError::never(error::PAGES_LOOP, format!("the pages do not end: {what}")).fix(
        "correct `pages`: the parameter may have another name, which an API ignores and answers with its first page",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn paging(by: By) -> Paging {
        Paging { by, more: None, total: None, size: None, most: 5 }
    }

    fn page(records: u64, mark: u8) -> Found {
        Found { records, digest: [mark; 32], ..Found::default() }
    }

    fn with(param: &str, value: &str) -> Option<Step> {
        Some(Step::With(param.to_owned(), value.to_owned()))
    }

    #[test]
    fn numbers_and_offsets_go_on_until_a_page_is_empty_however_short_the_ones_before() {
        let by_page = paging(By::Page { param: "p".to_owned(), start: 1 });
        let mut course = Course::new(&by_page);
        assert_eq!(Some(course.first()), with("p", "1"));
        assert_eq!(course.after(&page(100, 1)).unwrap(), with("p", "2"));
        assert_eq!(course.after(&page(3, 2)).unwrap(), with("p", "3"));
        assert_eq!(course.after(&page(0, 3)).unwrap(), None);
        let by_offset = paging(By::Offset { param: "o".to_owned() });
        let mut course = Course::new(&by_offset);
        assert_eq!(Some(course.first()), with("o", "0"));
        assert_eq!(course.after(&page(100, 1)).unwrap(), with("o", "100"));
        assert_eq!(course.after(&page(30, 2)).unwrap(), with("o", "130"), "a server may give fewer than it was asked");
        assert_eq!(course.after(&page(0, 3)).unwrap(), None);
    }

    #[test]
    fn tokens_and_links_go_on_until_there_is_none_even_over_an_empty_page() {
        let by_cursor = paging(By::Cursor { param: "c".to_owned(), at: Pointer::parse("/next").unwrap() });
        let mut course = Course::new(&by_cursor);
        assert_eq!(course.first(), Step::Plain);
        let next = |records, token: &str| Found { next: Some(token.to_owned()), ..page(records, 9) };
        assert_eq!(course.after(&next(0, "x")).unwrap(), with("c", "x"));
        assert_eq!(course.after(&next(2, "y")).unwrap(), with("c", "y"));
        assert_eq!(course.after(&page(1, 4)).unwrap(), None);
        let by_link = paging(By::Link { at: None });
        let mut course = Course::new(&by_link);
        assert_eq!(course.after(&next(1, "/b")).unwrap(), Some(Step::Follow("/b".to_owned())));
        assert_eq!(course.after(&next(1, "")).unwrap(), None);
    }

    #[test]
    fn a_circle_is_an_error_and_so_is_no_end() {
        let by_cursor = paging(By::Cursor { param: "c".to_owned(), at: Pointer::parse("/next").unwrap() });
        let mut course = Course::new(&by_cursor);
        let next = |mark, token: &str| Found { next: Some(token.to_owned()), ..page(1, mark) };
        course.after(&next(1, "a")).unwrap();
        course.after(&next(2, "b")).unwrap();
        assert_eq!(course.after(&next(3, "a")).unwrap_err().code(), error::PAGES_LOOP);
        let by_page = paging(By::Page { param: "p".to_owned(), start: 0 });
        let mut course = Course::new(&by_page);
        course.after(&page(10, 1)).unwrap();
        assert_eq!(course.after(&page(10, 1)).unwrap_err().code(), error::PAGES_LOOP, "the parameter is ignored");
        let mut course = Course::new(&by_page);
        let end = (0..5).map(|mark| course.after(&page(1, mark))).last().unwrap();
        assert_eq!(end.unwrap_err().code(), error::INPUT_TOO_LARGE);
        assert_eq!(course.pages(), 5);
    }

    #[test]
    fn what_an_answer_says_of_the_end_is_believed_and_its_count_is_held_against_it() {
        let by_page = paging(By::Page { param: "p".to_owned(), start: 1 });
        let more = |records, mark, more| Found { more: Some(more), ..page(records, mark) };
        let mut course = Course::new(&by_page);
        assert_eq!(course.after(&more(0, 1, true)).unwrap(), with("p", "2"));
        assert_eq!(course.after(&more(5, 2, false)).unwrap(), None);
        let total = |records, mark, total| Found { total: Some(total), ..page(records, mark) };
        let mut course = Course::new(&by_page);
        assert!(course.after(&total(3, 1, 5)).unwrap().is_some());
        assert_eq!(course.after(&total(2, 2, 5)).unwrap(), None);
        let mut course = Course::new(&by_page);
        assert!(course.after(&total(3, 1, 5)).unwrap().is_some());
        assert_eq!(course.after(&total(3, 2, 5)).unwrap_err().code(), error::SOURCE_CHANGED);
        let mut course = Course::new(&by_page);
        assert!(course.after(&total(3, 1, 5)).unwrap().is_some());
        assert_eq!(course.after(&total(0, 2, 5)).unwrap_err().code(), error::SOURCE_CHANGED);
    }
}
