//! Buckets that cannot be used: each cause has its code, its words and its fix, nothing is written, and no secret is
//! said, kept or sent anywhere.

use std::{fs, path::Path, sync::Arc};

use http::{Method, header::HeaderName};
use object_store::{
    aws::{AwsAuthorizer, AwsCredential},
    client::HttpRequestBody,
};
use windrow_tests::{
    fault::{Fault, FaultProxy, Request, Rule, Speaks},
    process::{command, run, said},
    s3::{BUCKET, KEY_ID, REGION, SECRET},
};

use crate::{
    lake::{connection, connection_as, edit, server, upload},
    visits::Visits,
};

/// `visits` with one of its connections, `here` or `lake`, put elsewhere.
fn visits_with(name: &str, connection: &str) -> Visits {
    let visits = Visits::new();
    let local = if name == "here" { "{ type: local, root: . }" } else { "{ type: local, root: ./lake }" };
    visits.edit(local, connection);
    visits
}

/// Runs, must fail, and says all of `words`.
fn fails_saying(visits: &Visits, words: &[&str]) -> String {
    let output = command(&["run", visits.arg(), "--patience", "5s"])
        .unwrap()
        .env("WINDROW_TEST_WRONG", "not-the-5ecret")
        .output()
        .unwrap();
    let said = said(&output);
    assert!(!output.status.success(), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not said: {said}");
    }
    assert!(!said.contains(SECRET) && !said.contains("not-the-5ecret"), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_told_with_a_fix_and_nothing_is_written() {
    let Some(s3) = server("wrong_credentials_are_told_with_a_fix_and_nothing_is_written") else { return };
    for (key, secret) in [(KEY_ID, "${env:WINDROW_TEST_WRONG}"), ("nobody", "${env:WINDROW_TEST_WRONG}")] {
        let wrong = connection_as(&s3.address(), BUCKET, key, secret);
        fails_saying(&visits_with("lake", &wrong), &["WR-K002", "check the connection's credentials"]);
        fails_saying(&visits_with("here", &wrong), &["WR-S002", "give the connection's credentials the right"]);
    }
    assert_eq!(s3.keys().unwrap(), Vec::<String>::new());
}

/// A connection without keys asks the machine for its identity, and most machines have none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_without_anybodys_keys_is_told_as_that() {
    let Some(s3) = server("a_bucket_without_anybodys_keys_is_told_as_that") else { return };
    let machine = FaultProxy::start(s3.address(), Speaks::Http1, 1).await.unwrap();
    machine.meet(Rule::always().with(Fault::Refuse(403))).unwrap();
    let address = s3.address();
    let keyless = format!("{{ type: s3, root: \"s3://{BUCKET}\", endpoint: \"http://{address}\", region: {REGION} }}");
    for (name, code) in [("lake", "WR-K002"), ("here", "WR-S002")] {
        let visits = visits_with(name, &keyless);
        let mut command = command(&["run", visits.arg(), "--patience", "5s"]).unwrap();
        for variable in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"] {
            command.env_remove(variable);
        }
        let output = command.env("AWS_METADATA_ENDPOINT", format!("http://{}", machine.address())).output().unwrap();
        let said = said(&output);
        assert!(!output.status.success() && said.contains(code), "{said}");
        assert!(said.contains("nobody said who") && said.contains("secret_access_key"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_not_there_is_told_by_its_name() {
    let Some(s3) = server("a_secret_that_is_not_there_is_told_by_its_name") else { return };
    for (secret, name) in [("${env:WINDROW_TEST_NONE}", "WINDROW_TEST_NONE"), ("${file:/no/where}", "/no/where")] {
        let unresolved = connection_as(&s3.address(), BUCKET, KEY_ID, secret);
        fails_saying(&visits_with("lake", &unresolved), &["WR-P010", name]);
        fails_saying(&visits_with("here", &unresolved), &["WR-P010", name]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_not_there_is_called_that() {
    let Some(s3) = server("a_bucket_that_is_not_there_is_called_that") else { return };
    for (name, code) in [("lake", "WR-K001"), ("here", "WR-S001")] {
        let visits = visits_with(name, "{ type: local, root: ./none }");
        let missing = connection(visits.path(), &s3.address(), "no-such-bucket/folder");
        visits.edit("{ type: local, root: ./none }", &missing);
        fails_saying(&visits, &[code, "no such bucket", "create the bucket"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_ignores_conditions_on_writes_is_refused_before_anything_is_written() {
    let test = "a_store_that_ignores_conditions_on_writes_is_refused_before_anything_is_written";
    let Some(s3) = server(test) else { return };
    let proxy = FaultProxy::start(s3.address(), Speaks::Http1, 1).await.unwrap();
    let forgetting = Fault::Rewrite(Arc::new(forget_condition));
    let met = proxy.meet(Rule::on("PUT", "").having("if-none-match").with(forgetting)).unwrap();
    for format in ["delta", "parquet"] {
        let visits = visits_with("lake", "{ type: local, root: ./none }");
        let pipelines = visits.path().join("pipelines.yaml");
        let lake = connection(visits.path(), &proxy.address(), BUCKET);
        edit(&pipelines, "{ type: local, root: ./none }", &lake);
        edit(&pipelines, "format: delta", &format!("format: {format}"));
        fails_saying(&visits, &["WR-K012", "If-None-Match"]);
        assert_eq!(s3.keys().unwrap(), Vec::<String>::new(), "{format}: not even the probe is left");
    }
    assert!(met.times() >= 4, "{met:?}");
    assert!(proxy.seen().iter().all(|seen| seen.answer != Some(403)), "the requests were signed anew");
}

/// What a store makes of the request that does not know the header: it is gone, and the signature is right without it.
fn forget_condition(request: &mut Request) {
    for header in ["if-none-match", "authorization", "x-amz-date", "x-amz-content-sha256"] {
        request.remove_header(header);
    }
    let host = request.header("host").unwrap().to_owned();
    let mut signed = http::Request::builder()
        .method(request.method().parse::<Method>().unwrap())
        .uri(format!("http://{host}{}", request.path()))
        .body(HttpRequestBody::from(request.body().to_vec()))
        .unwrap();
    for (name, value) in request.headers() {
        signed.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let credential = AwsCredential { key_id: KEY_ID.to_owned(), secret_key: SECRET.to_owned(), token: None };
    AwsAuthorizer::new(&credential, "s3", REGION).authorize(&mut signed, None);
    for header in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
        request.set_header(header, signed.headers()[header].to_str().unwrap());
    }
}

/// The secret is read by the worker that uses it. It must not be in what any process says at its most talkative, in the
/// ledger, in manifests, logs of commits, data, or anything else the store keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_said_kept_or_sent() {
    let Some(s3) = server("no_secret_is_said_kept_or_sent") else { return };
    let visits = Visits::new();
    let folder = visits.path();
    upload(&s3, &folder.join("visits.csv"), "drop/visits.csv").await;
    let pipelines = folder.join("pipelines.yaml");
    edit(&pipelines, "{ type: local, root: . }", &connection(folder, &s3.address(), "lake/drop"));
    let by_name = connection_as(&s3.address(), BUCKET, KEY_ID, "${env:WINDROW_TEST_SECRET}");
    edit(&pipelines, "{ type: local, root: ./lake }", &by_name);
    let talkative = |args: &[&str]| {
        let output = command(args).unwrap().envs([("WINDROW_LOG", "trace"), ("WINDROW_TEST_SECRET", SECRET)]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let mut everything = talkative(&["run", visits.arg()]);
    for args in [
        ["describe", "visits", "--local"].as_slice(),
        &["get", "pipelines", "-o", "yaml", "--local"],
        &["backfill", "create", "visits", "--reprocess", "all", "--local"],
    ] {
        everything += &talkative(&[args, &[visits.arg()]].concat());
    }
    everything += &talkative(&["plan", visits.arg()]);
    // A failure says most of all.
    fs::write(folder.join("secret"), format!("{SECRET}-and-wrong")).unwrap();
    fs::remove_dir_all(folder.join(".windrow")).unwrap();
    let failed = command(&["run", visits.arg()])
        .unwrap()
        .envs([("WINDROW_LOG", "trace"), ("WINDROW_TEST_SECRET", SECRET)])
        .output();
    let failed = said(&failed.unwrap());
    assert!(failed.contains("WR-S002"), "{failed}");
    everything += &failed;

    assert!(everything.len() > 10_000, "the processes said much");
    assert!(!everything.contains(SECRET), "a process says the secret");
    let kept = s3.everything().unwrap();
    assert!(contains(&kept, b"visits.csv") && !contains(&kept, SECRET.as_bytes()), "the store keeps the secret");
    let files = files_below(folder);
    assert!(files.iter().any(|file| file.starts_with(folder.join(".windrow"))), "{files:?}");
    for file in files.iter().filter(|file| **file != folder.join("secret")) {
        assert!(!contains(&fs::read(file).unwrap(), SECRET.as_bytes()), "{} holds the secret", file.display());
    }
    assert!(run(&["validate", visits.arg()]).unwrap().status.success());
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { files.extend(files_below(&entry.path())) } else { files.push(entry.path()) }
    }
    files
}
