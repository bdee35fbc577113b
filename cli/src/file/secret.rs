//! Secrets do not stand in files. A value whose key says it is one must be a reference, and references must be
//! well-formed; whether they lead anywhere only the worker that uses them can say for sure.

use std::{env, path::Path};

use windrow_common::error;

use super::{
    diagnostic::{Findings, Span},
    tree::{Node, Value},
};

const REFERENCE: &str = "write ${env:NAME} or ${file:/path}, and put the secret there";
const TELLTALES: [&str; 7] = ["password", "passwd", "passphrase", "secret", "private_key", "api_key", "credential"];

/// What a look at the values of a block showed.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// Values nobody may print.
    pub(crate) spans: Vec<Span>,
    /// Whether some reference leads nowhere on this machine.
    pub(crate) unresolved: bool,
}

/// Looks at every value below `node`, except column names: a column may be called `token`.
pub(crate) fn check(node: &Node, findings: &mut Findings) -> Secrets {
    let mut secrets = Secrets::default();
    check_below(node, false, &mut secrets, findings);
    secrets
}

fn check_below(node: &Node, telltale: bool, secrets: &mut Secrets, findings: &mut Findings) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries.iter().filter(|entry| entry.key != "schema") {
                check_below(&entry.node, telltale || tells(&entry.key), secrets, findings);
            }
        }
        Value::List(items) => items.iter().for_each(|item| check_below(item, telltale, secrets, findings)),
        Value::Text(text) if text.contains("${") => check_reference(text, node.span, secrets, findings),
        Value::Text(text) if telltale || has_password(text) => in_file(node.span, secrets, findings),
        Value::Number(_) if telltale => in_file(node.span, secrets, findings),
        _ => {}
    }
}

fn tells(key: &str) -> bool {
    let key = key.to_lowercase();
    TELLTALES.iter().any(|telltale| key.contains(telltale)) || key.split(['_', '-']).any(|word| word == "token")
}

/// `scheme://user:password@host`, also before several hosts, or `scheme://host?password=`.
fn has_password(text: &str) -> bool {
    // Several hosts with their ports are no address by the book.
    url::Url::parse(text).is_ok_and(|url| url.password().is_some()) || seems_to_have_password(text)
}

fn seems_to_have_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let in_place = user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty());
    let in_query = query.split('&').filter_map(|pair| pair.split_once('='));
    in_place || in_query.into_iter().any(|(key, value)| tells(key) && !value.is_empty())
}

fn in_file(span: Span, secrets: &mut Secrets, findings: &mut Findings) {
    secrets.spans.push(span);
    findings.error(error::SECRET_IN_FILE, span, "a secret stands in the file").fix(REFERENCE);
}

fn check_reference(text: &str, span: Span, secrets: &mut Secrets, findings: &mut Findings) {
    let reference = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let missing = match reference.and_then(|reference| reference.split_once(':')) {
        Some(("env", name)) if !name.is_empty() => {
            env::var_os(name).is_none().then(|| format!("the environment has no {name}"))
        }
        Some(("file", path)) if !path.is_empty() => {
            (!Path::new(path).exists()).then(|| format!("there is no file {path}"))
        }
        _ => {
            secrets.unresolved = true;
            findings
                .error(error::SECRET_UNRESOLVED, span, "this is no reference to a secret")
                .fix("write ${env:NAME} or ${file:/path} as the whole value");
            return;
        }
    };
    if let Some(missing) = missing {
        secrets.unresolved = true;
        findings
            .warning(error::SECRET_UNRESOLVED, span, missing)
            .fix("make sure the workers have it: they resolve references, this machine need not");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_is_told_from_one_without() {
        for with in
            ["postgres://me:pw@db/shop", "postgres://me:p@w@one:1,two:2/shop", "postgres://db/shop?a=b&password=pw"]
        {
            assert!(has_password(with), "{with}");
        }
        for without in ["postgres://me@db:5432/shop", "s3://lake/a:b@c", "a b: c", "http://x/?page=2"] {
            assert!(!has_password(without), "{without}");
        }
    }
}
