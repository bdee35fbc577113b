//! Reads: prefixes, order, pages, old revisions.

use super::super::{MAX_PAGE, Op, Range, Revision, StoreError, range_all};
use super::space::{Space, plus};

super::cases![
    a_range_holds_the_keys_of_its_prefix_only,
    a_range_is_in_byte_order,
    a_range_of_nothing_is_empty_and_tells_the_revision,
    a_prefix_that_is_a_key_includes_the_key,
    a_prefix_ending_in_the_highest_byte_ends_where_it_should,
    a_range_of_everything_includes_every_prefix,
    a_limit_cuts_the_page_and_says_so,
    a_limit_that_fits_exactly_says_there_is_no_more,
    a_limit_of_zero_is_the_largest_page,
    a_limit_above_the_largest_page_is_cut_to_it,
    a_page_starts_behind_the_given_key,
    a_page_may_start_behind_a_key_that_does_not_exist,
    a_page_behind_the_last_key_is_empty,
    a_page_behind_a_key_before_the_prefix_is_the_first_page,
    a_page_behind_a_key_after_the_prefix_is_empty,
    deleted_keys_do_not_count_for_the_limit,
    pages_at_a_pinned_revision_are_one_state,
    reading_all_pages_gives_every_key_once,
    reading_all_pages_ignores_writes_in_between,
    an_old_revision_shows_the_old_value_and_version,
    an_old_revision_does_not_show_what_was_created_later,
    an_old_revision_shows_what_was_deleted_later,
    the_revision_of_a_deletion_does_not_show_the_key,
    an_old_revision_shows_the_former_life_of_a_key,
    every_revision_shows_its_own_state,
    the_newest_revision_can_be_asked_for_by_number,
    a_page_tells_the_revision_it_was_asked_for,
    a_page_of_the_newest_state_tells_the_revision_of_other_writes,
    a_revision_in_the_future_is_refused,
    revision_zero_and_below_are_refused,
    a_reader_sees_what_was_acknowledged_before,
];

async fn a_range_holds_the_keys_of_its_prefix_only(s: Space) {
    s.write(vec![s.put("a/1", ""), s.put("a/2", ""), s.put("a", ""), s.put("a0", ""), s.put("b/1", "")]).await;
    let page = s.page(Range::prefix(s.key("a/"))).await;
    assert_eq!(s.names_of(&page.entries), ["a/1", "a/2"]);
}

async fn a_range_is_in_byte_order(s: Space) {
    let names = ["b", "a", "a/", "B", "a\u{0}", "ab", "é", "~"];
    s.write(names.iter().map(|name| s.put(name, "")).collect()).await;
    assert_eq!(s.names().await, ["B", "a", "a\u{0}", "a/", "ab", "b", "~", "é"]);
}

async fn a_range_of_nothing_is_empty_and_tells_the_revision(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let page = s.page(Range::prefix(s.key("nothing"))).await;
    assert_eq!((page.entries.len(), page.revision, page.more), (0, revision, false));
}

async fn a_prefix_that_is_a_key_includes_the_key(s: Space) {
    s.write(vec![s.put("a", ""), s.put("ab", ""), s.put("b", "")]).await;
    let page = s.page(Range::prefix(s.key("a"))).await;
    assert_eq!(s.names_of(&page.entries), ["a", "ab"]);
}

async fn a_prefix_ending_in_the_highest_byte_ends_where_it_should(s: Space) {
    let inside = [s.key("a"), vec![0xff, 1]].concat();
    let prefix = [s.key("a"), vec![0xff]].concat();
    s.write(vec![s.put("a", ""), s.put("b", ""), Op::Put { key: inside.clone(), value: vec![], lease: None }]).await;
    let page = s.page(Range::prefix(prefix)).await;
    assert_eq!(page.entries.iter().map(|entry| &entry.key).collect::<Vec<_>>(), [&inside]);
}

async fn a_range_of_everything_includes_every_prefix(s: Space) {
    s.write(vec![s.put("a", ""), s.put("b", "")]).await;
    let range = Range { after: Some(s.prefix()), limit: 2, ..Range::default() };
    assert_eq!(s.names_of(&s.page(range).await.entries), ["a", "b"]);
    assert_eq!(s.page(Range { limit: 1, ..Range::default() }).await.entries.len(), 1);
}

async fn a_limit_cuts_the_page_and_says_so(s: Space) {
    letters(&s).await;
    let page = s.page(Range { limit: 2, ..Range::prefix(s.prefix()) }).await;
    assert_eq!((s.names_of(&page.entries), page.more), (vec!["a".to_owned(), "b".to_owned()], true));
}

async fn a_limit_that_fits_exactly_says_there_is_no_more(s: Space) {
    letters(&s).await;
    let page = s.page(Range { limit: 5, ..Range::prefix(s.prefix()) }).await;
    assert_eq!((page.entries.len(), page.more), (5, false));
}

async fn a_limit_of_zero_is_the_largest_page(s: Space) {
    thousand_and_five(&s).await;
    let page = s.page(Range::prefix(s.prefix())).await;
    assert_eq!((page.entries.len(), page.more), (MAX_PAGE, true));
}

async fn a_limit_above_the_largest_page_is_cut_to_it(s: Space) {
    thousand_and_five(&s).await;
    let page = s.page(Range { limit: MAX_PAGE + 5, ..Range::prefix(s.prefix()) }).await;
    assert_eq!((page.entries.len(), page.more), (MAX_PAGE, true));
}

async fn a_page_starts_behind_the_given_key(s: Space) {
    letters(&s).await;
    let page = s.page(Range { after: Some(s.key("b")), limit: 2, ..Range::prefix(s.prefix()) }).await;
    assert_eq!((s.names_of(&page.entries), page.more), (vec!["c".to_owned(), "d".to_owned()], true));
}

async fn a_page_may_start_behind_a_key_that_does_not_exist(s: Space) {
    letters(&s).await;
    let page = s.page(Range { after: Some(s.key("bbb")), ..Range::prefix(s.prefix()) }).await;
    assert_eq!(s.names_of(&page.entries), ["c", "d", "e"]);
}

async fn a_page_behind_the_last_key_is_empty(s: Space) {
    letters(&s).await;
    let page = s.page(Range { after: Some(s.key("e")), ..Range::prefix(s.prefix()) }).await;
    assert_eq!((page.entries.len(), page.more), (0, false));
}

async fn a_page_behind_a_key_before_the_prefix_is_the_first_page(s: Space) {
    letters(&s).await;
    let page = s.page(Range { after: Some(b"a".to_vec()), ..Range::prefix(s.key("c")) }).await;
    assert_eq!(s.names_of(&page.entries), ["c"]);
}

async fn a_page_behind_a_key_after_the_prefix_is_empty(s: Space) {
    letters(&s).await;
    let page = s.page(Range { after: Some(s.key("d")), ..Range::prefix(s.key("b")) }).await;
    assert_eq!((page.entries.len(), page.more), (0, false));
}

async fn deleted_keys_do_not_count_for_the_limit(s: Space) {
    letters(&s).await;
    s.write(vec![s.delete("a"), s.delete("c"), s.delete("e")]).await;
    let page = s.page(Range { limit: 2, ..Range::prefix(s.prefix()) }).await;
    assert_eq!((s.names_of(&page.entries), page.more), (vec!["b".to_owned(), "d".to_owned()], false));
}

async fn pages_at_a_pinned_revision_are_one_state(s: Space) {
    let revision = letters(&s).await;
    s.write(vec![s.delete("c"), s.put("b", "changed"), s.put("bb", "new")]).await;
    let range = Range { at: Some(revision), after: Some(s.key("a")), limit: 2, ..Range::prefix(s.prefix()) };
    let page = s.page(range).await;
    assert_eq!((s.names_of(&page.entries), page.more), (vec!["b".to_owned(), "c".to_owned()], true));
    assert_eq!(page.entries[0].value, b"");
}

async fn reading_all_pages_gives_every_key_once(s: Space) {
    thousand_and_five(&s).await;
    let (all, _) = range_all(s.store.as_ref(), &s.prefix()).await.unwrap();
    assert_eq!(all.len(), MAX_PAGE + 5);
    assert!(all.is_sorted_by(|a, b| a.key < b.key));
}

async fn reading_all_pages_ignores_writes_in_between(s: Space) {
    let before = letters(&s).await;
    let first = s.page(Range { limit: 3, ..Range::prefix(s.prefix()) }).await;
    s.write(vec![s.put("d", "changed"), s.delete("e"), s.put("f", "new")]).await;
    let after = first.entries.last().map(|entry| entry.key.clone());
    let rest = s.page(Range { at: Some(first.revision), after, ..Range::prefix(s.prefix()) }).await;
    assert_eq!((first.revision, s.names_of(&rest.entries)), (before, vec!["d".to_owned(), "e".to_owned()]));
    assert_eq!(rest.entries[0].mod_revision, before);
}

async fn an_old_revision_shows_the_old_value_and_version(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    let second = s.write(vec![s.put("a", "2")]).await;
    s.write(vec![s.put("a", "3")]).await;
    let a = s.get_at("a", second).await.unwrap();
    assert_eq!((a.value.as_slice(), a.version, a.create_revision, a.mod_revision), (&b"2"[..], 2, first, second));
}

async fn an_old_revision_does_not_show_what_was_created_later(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.put("b", "1")]).await;
    assert_eq!(s.names_at(first).await, ["a"]);
}

async fn an_old_revision_shows_what_was_deleted_later(s: Space) {
    let first = s.write(vec![s.put("a", "1"), s.put("b", "1")]).await;
    s.write(vec![s.delete("a")]).await;
    assert_eq!(s.names_at(first).await, ["a", "b"]);
}

async fn the_revision_of_a_deletion_does_not_show_the_key(s: Space) {
    s.write(vec![s.put("a", "1"), s.put("b", "1")]).await;
    let deletion = s.write(vec![s.delete("a")]).await;
    s.write(vec![s.put("a", "again")]).await;
    assert_eq!(s.names_at(deletion).await, ["b"]);
}

async fn an_old_revision_shows_the_former_life_of_a_key(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let former = s.write(vec![s.put("a", "former")]).await;
    s.write(vec![s.delete("a")]).await;
    s.write(vec![s.put("a", "newest")]).await;
    let a = s.get_at("a", former).await.unwrap();
    assert_eq!((a.value.as_slice(), a.version), (&b"former"[..], 2));
}

async fn every_revision_shows_its_own_state(s: Space) {
    let mut states = Vec::new();
    for round in 0..20 {
        let key = format!("k{}", round % 3);
        let op = if round % 5 == 4 { s.delete(&key) } else { s.put(&key, &round.to_string()) };
        let revision = s.write(vec![op]).await;
        states.push((revision, s.all().await));
    }
    for (revision, state) in states {
        let page = s.page(Range { at: Some(revision), ..Range::prefix(s.prefix()) }).await;
        assert_eq!(page.entries, state, "at revision {revision}");
    }
}

async fn the_newest_revision_can_be_asked_for_by_number(s: Space) {
    let revision = letters(&s).await;
    assert_eq!(s.names_at(revision).await.len(), 5);
}

async fn a_page_tells_the_revision_it_was_asked_for(s: Space) {
    let old = letters(&s).await;
    s.write(vec![s.put("a", "2")]).await;
    let page = s.page(Range { at: Some(old), ..Range::prefix(s.prefix()) }).await;
    assert_eq!(page.revision, old);
}

async fn a_page_of_the_newest_state_tells_the_revision_of_other_writes(s: Space) {
    s.write(vec![s.put("a/1", "1")]).await;
    let other = s.write(vec![s.put("b/1", "1")]).await;
    assert_eq!(s.page(Range::prefix(s.key("a/"))).await.revision, other);
}

async fn a_revision_in_the_future_is_refused(s: Space) {
    let future = plus(letters(&s).await, 1);
    let error = s.store.range(Range { at: Some(future), ..Range::prefix(s.prefix()) }).await.unwrap_err();
    assert!(matches!(error, StoreError::FutureRevision(revision) if revision == future), "{error}");
}

async fn revision_zero_and_below_are_refused(s: Space) {
    letters(&s).await;
    for at in [0, -1, i64::MIN] {
        let error = s.store.range(Range { at: Some(Revision(at)), ..Range::prefix(s.prefix()) }).await.unwrap_err();
        assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    }
}

async fn a_reader_sees_what_was_acknowledged_before(s: Space) {
    for round in 0..50 {
        let revision = s.write(vec![s.put("a", &round.to_string())]).await;
        let page = s.page(Range::prefix(s.prefix())).await;
        assert_eq!((page.entries[0].mod_revision, page.revision), (revision, revision));
    }
}

/// Puts the keys a to e, without values.
async fn letters(s: &Space) -> Revision {
    s.write(["a", "b", "c", "d", "e"].iter().map(|name| s.put(name, "")).collect()).await
}

async fn thousand_and_five(s: &Space) {
    let names: Vec<_> = (0..MAX_PAGE + 5).map(|n| format!("{n:05}")).collect();
    for chunk in names.chunks(100) {
        s.write(chunk.iter().map(|name| s.put(name, "")).collect()).await;
    }
}
