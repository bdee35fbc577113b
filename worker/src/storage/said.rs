//! What a store said when it refused, in so many words: S3 answers with a page of XML, of which people need two lines.

use std::error::Error as StdError;

use object_store::Error;

use crate::error::in_one_line;

/// The error as a cause to show: the store's own code and message where it gave them.
pub fn said(cause: Error) -> Box<dyn StdError + Send + Sync> {
    let text = in_one_line(&cause);
    match (inside(&text, "Code"), inside(&text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}").into(),
        (Some(code), None) => code.into(),
        _ => Box::new(cause),
    }
}

/// Whether a store says that the bucket itself is not there. Only the words of its answer tell that from an object that
/// is not there, and answers without a body do not tell.
pub fn names_no_bucket(cause: &Error) -> bool {
    inside(&in_one_line(cause), "Code") == Some("NoSuchBucket")
}

/// Codes that say that whoever asks may not, or is not who they say. Some come with a status that says something else:
/// an expired token is a bad request to S3, and an unknown key is not found to some of its relatives.
const REFUSALS: [&str; 6] = [
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound",
];

/// Whether the store refuses whoever asks.
pub fn refuses(cause: &Error) -> bool {
    let by_code = || inside(&in_one_line(cause), "Code").is_some_and(|code| REFUSALS.contains(&code));
    matches!(cause, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) || by_code()
}

/// Whether nobody said who asks: the last place where credentials are looked for, the machine's own identity, has none.
pub fn names_no_credentials(cause: &Error) -> bool {
    let text = in_one_line(cause);
    ["/latest/api/token", "/latest/meta-data/iam", "//169.254.170.2"].iter().any(|place| text.contains(place))
}

/// How to say who asks.
pub const SAY_WHO: &str = "give the connection `access_key_id` and `secret_access_key`, as ${env:NAME} or ${file:/path}, \
                           or the worker an identity of its own";

fn inside<'a>(text: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{element}>"))?;
    rest.split_once(&format!("</{element}>")).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Error {
        Error::NotFound { path: "lake/x".to_owned(), source: text.into() }
    }

    #[test]
    fn a_refusal_is_told_by_its_code_whatever_its_status() {
        assert!(refuses(&answered("400 Bad Request: <Error><Code>ExpiredToken</Code></Error>")));
        assert!(!refuses(&answered("404 Not Found: <Error><Code>NoSuchKey</Code></Error>")));
    }

    #[test]
    fn an_answer_in_xml_is_said_in_one_line_and_anything_else_as_it_is() {
        let xml = "404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>No such \
                   bucket.</Message><RequestId>1</RequestId></Error>";
        assert_eq!(said(answered(xml)).to_string(), "NoSuchBucket: No such bucket.");
        assert!(names_no_bucket(&answered(xml)));
        let plain = answered("404 Not Found");
        assert!(!names_no_bucket(&plain));
        assert_eq!(said(plain).to_string(), answered("404 Not Found").to_string());
    }
}
