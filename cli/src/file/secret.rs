//! Secrets do not stand in files. A value whose key says it is one must be a reference, and references must be
//! well-formed; whether they lead anywhere only the worker that uses them can say for sure. Other values may hold
//! references: `Bearer ${env:TOKEN}`.

use std::{env, path::Path};

use windrow_common::error;

use super::{
    diagnostic::{Findings, Span},
    tree::{Node, Value},
};

const REFERENCE: &str = "write ${env:NAME} or ${file:/path}, and put the secret there";
const TELLTALES: [&str; 7] = ["password", "passwd", "passphrase", "secret", "private_key", "api_key", "credential"];
/// Keys whose value has a secret in it, beside what is none.
const CARRIERS: [&str; 2] = ["authorization", "cookie"];

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
    check_below(node, Says::Nothing, &mut secrets, findings);
    secrets
}

/// What a key says of the values below it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    /// They are secrets.
    Secret,
    /// They hold one.
    Carries,
}

fn check_below(node: &Node, says: Says, secrets: &mut Secrets, findings: &mut Findings) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries.iter().filter(|entry| entry.key != "schema") {
                let own = tells(&entry.key);
                check_below(&entry.node, if own == Says::Nothing { says } else { own }, secrets, findings);
            }
        }
        Value::List(items) => items.iter().for_each(|item| check_below(item, says, secrets, findings)),
        Value::Text(text) if text.contains("${") => check_references(text, (node.span, says), secrets, findings),
        Value::Text(text) if says != Says::Nothing || has_password(text) => in_file(node.span, secrets, findings),
        Value::Number(_) if says != Says::Nothing => in_file(node.span, secrets, findings),
        _ => {}
    }
}

fn tells(key: &str) -> Says {
    let key = key.to_lowercase().replace('-', "_");
    if CARRIERS.contains(&key.as_str()) {
        return Says::Carries;
    }
    let secret = TELLTALES.iter().any(|telltale| key.contains(telltale)) || key.split('_').any(|word| word == "token");
    if secret { Says::Secret } else { Says::Nothing }
}

/// `scheme://user:password@host`, also before several hosts, or `scheme://host?password=`.
pub(crate) fn has_password(text: &str) -> bool {
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
    in_place || in_query.into_iter().any(|(key, value)| tells(key) != Says::Nothing && !value.is_empty())
}

fn in_file(span: Span, secrets: &mut Secrets, findings: &mut Findings) {
    secrets.spans.push(span);
    findings.error(error::SECRET_IN_FILE, span, "a secret stands in the file").fix(REFERENCE);
}

fn check_references(text: &str, (span, says): (Span, Says), secrets: &mut Secrets, findings: &mut Findings) {
    let Some((references, beside)) = references(text) else {
        secrets.unresolved = true;
        findings
            .error(error::SECRET_UNRESOLVED, span, "this is no reference to a secret")
            .fix("write ${env:NAME} or ${file:/path}");
        return;
    };
    // What stands beside the reference to a password is a part of the password.
    if says == Says::Secret && beside {
        secrets.unresolved = true;
        findings
            .error(error::SECRET_UNRESOLVED, span, "a part of the secret stands beside the reference to it")
            .fix("write ${env:NAME} or ${file:/path} as the whole value");
        return;
    }
    for missing in references.iter().filter_map(Reference::missing) {
        secrets.unresolved = true;
        findings
            .warning(error::SECRET_UNRESOLVED, span, missing)
            .fix("make sure the workers have it: they resolve references, this machine need not");
    }
}

enum Reference<'a> {
    Variable(&'a str),
    File(&'a str),
}

impl Reference<'_> {
    /// Why it leads nowhere on this machine.
    fn missing(&self) -> Option<String> {
        match self {
            Self::Variable(name) => env::var_os(name).is_none().then(|| format!("the environment has no {name}")),
            Self::File(path) => (!Path::new(path).exists()).then(|| format!("there is no file {path}")),
        }
    }
}

/// The references in a text, and whether it holds anything else; `None` if one is malformed.
fn references(text: &str) -> Option<(Vec<Reference<'_>>, bool)> {
    let (mut found, mut beside, mut rest) = (Vec::new(), false, text);
    while let Some((before, from)) = rest.split_once("${") {
        let (reference, after) = from.split_once('}')?;
        found.push(match reference.split_once(':')? {
            ("env", name) if !name.is_empty() => Reference::Variable(name),
            ("file", path) if !path.is_empty() => Reference::File(path),
            _ => return None,
        });
        beside |= !before.is_empty();
        rest = after;
    }
    Some((found, beside || !rest.is_empty()))
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
