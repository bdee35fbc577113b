//! Secret references: `${env:NAME}` and `${file:/path}`, resolved where and when they are used. A value may be a
//! reference as a whole or hold some: `Bearer ${env:TOKEN}`.

use std::{env, fmt, fs};

use url::form_urlencoded::byte_serialize;

/// Stands where a secret stood.
const HIDDEN: &str = "*****";

/// A resolved value that shows itself to nobody who does not ask by name.
#[derive(Clone)]
pub struct Secret {
    value: String,
    /// What references led to.
    hidden: Vec<String>,
}

/// A reference that leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    #[error("the environment has no {0}")]
    Variable(String),
    #[error("cannot read the file {0}")]
    File(String, #[source] std::io::Error),
    #[error("{0:?} is no reference: write ${{env:NAME}} or ${{file:/path}}")]
    Reference(String),
}

impl Secret {
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// A text of somebody else's without what the references led to, should it repeat that, as it is or as it stands in
    /// an address.
    pub fn hide_in(&self, text: &str) -> String {
        let shown = self.hidden.iter().filter(|hidden| !hidden.is_empty());
        shown.fold(text.to_owned(), |text, hidden| {
            let encoded: String = byte_serialize(hidden.as_bytes()).collect();
            text.replace(hidden, HIDDEN).replace(&encoded, HIDDEN)
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Resolves the references in a value; what is none stands for itself.
pub fn resolve(value: &str) -> Result<Secret, Unresolved> {
    let mut secret = Secret { value: String::new(), hidden: Vec::new() };
    let mut rest = value;
    while let Some((before, from)) = rest.split_once("${") {
        let Some((reference, after)) = from.split_once('}') else {
            return Err(Unresolved::Reference(format!("${{{from}")));
        };
        let found = referred(reference)?;
        secret.value.push_str(before);
        secret.value.push_str(&found);
        secret.hidden.push(found);
        rest = after;
    }
    secret.value.push_str(rest);
    Ok(secret)
}

fn referred(reference: &str) -> Result<String, Unresolved> {
    match reference.split_once(':') {
        Some(("env", name)) => env::var(name).map_err(|_| Unresolved::Variable(name.to_owned())),
        Some(("file", path)) => fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|cause| Unresolved::File(path.to_owned(), cause)),
        _ => Err(Unresolved::Reference(format!("${{{reference}}}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn references_are_resolved_wherever_they_stand_and_hidden_wherever_they_turn_up() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hunter2\n").unwrap();
        let secret = resolve(&format!("Bearer ${{file:{}}}!", file.path().display())).unwrap();
        assert_eq!(secret.reveal(), "Bearer hunter2!");
        assert_eq!(secret.hide_in("no such token: hunter2"), "no such token: *****");
        let odd = Secret { value: "a&b".to_owned(), hidden: vec!["a&b".to_owned()] };
        assert_eq!(odd.hide_in("a&b, /?key=a%26b"), "*****, /?key=*****");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(resolve("plain").unwrap().hide_in("plain"), "plain");
        for bad in ["${env:WINDROW_NO_SUCH}", "${vault:x}", "a ${env:PATH", "${}"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }
}
