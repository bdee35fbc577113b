//! `Link` headers (RFC 8288): the address of the next page.

use reqwest::header::{HeaderMap, LINK};

/// The target of the first link whose relation is `next`.
pub(super) fn next(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(links).find(|link| is_next(link.params)).map(|link| link.target.to_owned())
}

struct Link<'a> {
    target: &'a str,
    params: &'a str,
}

/// The links of a header: `<target>; params, <target>; params`. Commas may stand in targets and in quotes.
fn links(mut rest: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    while let Some((_, from)) = rest.split_once('<') {
        let Some((target, after)) = from.split_once('>') else { break };
        let end = outside_quotes(after, ',').unwrap_or(after.len());
        links.push(Link { target: target.trim(), params: &after[..end] });
        rest = &after[end..];
    }
    links
}

/// Where a character stands outside quotes.
fn outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().find_map(|(at, character)| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            found if found == wanted && !quoted => return Some(at),
            _ => {}
        }
        None
    })
}

/// Whether one of the relations is `next`; only the first `rel` counts.
fn is_next(params: &str) -> bool {
    let mut rest = params;
    loop {
        let end = outside_quotes(rest, ';').unwrap_or(rest.len());
        if let Some((name, value)) = rest[..end].split_once('=')
            && name.trim().eq_ignore_ascii_case("rel")
        {
            let value = value.trim().trim_matches('"');
            return value.split_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"));
        }
        match rest.get(end + 1..) {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(values: &[&str]) -> Option<String> {
        next(&values.iter().map(|value| (LINK, value.parse().unwrap())).collect())
    }

    #[test]
    fn the_next_page_is_found_among_other_links() {
        for (values, expected) in [
            (&["<https://a/x?p=2>; rel=\"next\", <https://a/x?p=9>; rel=\"last\""][..], Some("https://a/x?p=2")),
            (&["</x?a=1,2>; rel=prev, </x?a=3,4>;title=\"a, <b>; rel=next\" ; REL = Next"], Some("/x?a=3,4")),
            (&["<a>; rel=\"first prev\"", "<b>; rel=\"last next\""], Some("b")),
            (&["<a>; title=\"rel=next\""], None),
            (&["<a>; rel=nextish"], None),
            (&["<a"], None),
            (&[], None),
        ] {
            assert_eq!(found(values).as_deref(), expected, "{values:?}");
        }
    }
}
