//! Attempts that end in other ways than well.

use super::*;

#[tokio::test]
async fn a_refused_seal_is_a_zombies_and_counted_as_fenced() {
    let mut bench = Bench::start();
    let pipeline = bench.pipeline_of(Odd { then: Then::End }, &json!({}));
    let (mut peer, _) = bench.fake.welcomed().await;
    peer.say(Heard::Assign(bench.assign(1, &pipeline))).await;
    let seal = hear_seal(&mut peer).await;
    peer.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: false })).await;
    assert_eq!(bench.results.recv().await, Some(AttemptResult::Fenced));
}

#[tokio::test]
async fn a_panic_fails_its_attempt_and_nothing_else() {
    let mut bench = Bench::start();
    let bad = bench.pipeline_of(Odd { then: Then::Panic }, &json!({ "name": "bad" }));
    let (fail, result) = bench.failure(bench.assign(1, &bad)).await;
    assert_eq!(code_of(&fail), (error::INTERNAL.code, v1::RetryAdvice::Later));
    assert!(fail.failure.unwrap().message.contains("a bug in the source"));
    assert_eq!(result, AttemptResult::Failed);
}

/// Proves CL6. An attempt that hangs is ended by its deadline.
#[tokio::test]
async fn an_attempt_past_its_deadline_fails() {
    let mut bench = Bench::start();
    let hanging = bench.pipeline_of(Odd { then: Then::Hang }, &json!({}));
    let assign = v1::Assign { deadline_ms: 200, ..bench.assign(1, &hanging) };
    let (fail, _) = bench.failure(assign).await;
    assert_eq!(code_of(&fail), (error::DEADLINE.code, v1::RetryAdvice::Later));
}

#[tokio::test]
async fn a_revoked_attempt_stops_and_says_nothing() {
    let mut bench = Bench::start();
    let hanging = bench.pipeline_of(Odd { then: Then::Hang }, &json!({}));
    let (mut peer, _) = bench.fake.welcomed().await;
    peer.say(Heard::Assign(bench.assign(1, &hanging))).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (task, token) = (task(1).as_bytes().to_vec(), Some(token(7).into()));
    peer.say(Heard::Revoke(v1::Revoke { task, token, reason: String::new() })).await;
    assert_eq!(bench.results.recv().await, Some(AttemptResult::Cancelled));
    let silent = tokio::time::timeout(Duration::from_millis(200), peer.hear_news()).await;
    assert!(silent.is_err(), "something was said: {silent:?}");
}

/// Proves CL3. A worker cut off from the coordinator gives its work up in time, and says so when it is heard again: the
/// coordinator would take it for still at work.
#[tokio::test(start_paused = true)]
async fn an_attempt_whose_claim_lapses_stops_and_gives_the_claim_back() {
    let mut bench = Bench::start();
    let hanging = bench.pipeline_of(Odd { then: Then::Hang }, &json!({}));
    let (silent, _) = bench.fake.welcomed().await;
    silent.say(Heard::Assign(bench.assign(1, &hanging))).await;
    tokio::time::sleep(Duration::from_secs(21)).await;
    let (mut peer, _) = bench.fake.welcomed().await;
    let Message::Fail(fail) = peer.hear_news().await.unwrap() else { panic!("the claim was not given back") };
    assert_eq!(code_of(&fail), (error::SESSION_LOST.code, v1::RetryAdvice::Later));
    peer.say(Heard::Fail(v1::FailReply { request: fail.request, accepted: true })).await;
    assert_eq!(bench.results.recv().await, Some(AttemptResult::Cancelled));
}

#[tokio::test]
async fn an_error_keeps_its_code_and_advice_and_an_unready_source_is_no_error() {
    let cases: [(fn() -> WorkerError, _, _); 3] = [
        (|| WorkerError::later(error::SOURCE_UNREADABLE, "busy"), v1::RetryAdvice::Later, false),
        (|| WorkerError::never(error::SOURCE_CORRUPT, "damaged"), v1::RetryAdvice::Never, false),
        (|| WorkerError::not_ready(error::SOURCE_MISSING, "not yet"), v1::RetryAdvice::Later, true),
    ];
    for (error, advice, not_ready) in cases {
        let mut bench = Bench::start();
        let pipeline = bench.pipeline_of(Odd { then: Then::Fail(error) }, &json!({}));
        let (fail, result) = bench.failure(bench.assign(1, &pipeline)).await;
        assert_eq!(code_of(&fail), (error().code().code, advice));
        assert_eq!(fail.not_ready, not_ready);
        assert_eq!(result, if not_ready { AttemptResult::NotReady } else { AttemptResult::Failed });
    }
}

#[tokio::test]
async fn a_pipeline_of_another_version_fails_without_being_run() {
    let mut bench = Bench::start();
    let pipeline = bench.pipeline_of(Odd { then: Then::End }, &json!({}));
    let assign = v1::Assign { pipeline: b"{\"new\":1}".to_vec(), ..bench.assign(1, &pipeline) };
    let (fail, _) = bench.failure(assign).await;
    assert_eq!(code_of(&fail), (error::VERSION_SKEW.code, v1::RetryAdvice::Later));
}

/// The ticket binds the pipeline: a reader cannot have rows staged by rules of its own.
#[tokio::test]
async fn a_pipeline_the_ticket_was_not_signed_for_is_refused_by_the_sink_worker() {
    let mut bench = Bench::start();
    let pipeline = bench.pipeline_of(Odd { then: Then::End }, &json!({}));
    let other = bench.pipeline_of(Odd { then: Then::End }, &json!({ "limits": { "concurrency": 1 } }));
    let assign = v1::Assign { pipeline: serde_json::to_vec(&other).unwrap(), ..bench.assign(1, &pipeline) };
    let (fail, _) = bench.failure(assign).await;
    assert_eq!(code_of(&fail).0, error::TICKET_REFUSED.code);
}

#[tokio::test]
async fn windows_that_cannot_go_in_one_are_given_back_to_be_split() {
    for sql in ["SELECT at, count(*) AS n FROM input GROUP BY at", "SELECT at + 1 AS later FROM input"] {
        let mut bench = Bench::start();
        let pipeline = bench.pipeline_of(Odd { then: Then::End }, &json!({ "transform": [{ "sql": sql }] }));
        let assign = v1::Assign { windows: 2, ..bench.assign(1, &pipeline) };
        let (fail, _) = bench.failure(assign).await;
        assert_eq!(code_of(&fail), (error::NOT_ROW_WISE.code, v1::RetryAdvice::Never), "{sql}");
    }
}

#[tokio::test]
async fn more_rejected_rows_than_allowed_fail_for_good_and_show_no_content() {
    for allowed in [0.0, 0.2] {
        let mut bench = Bench::start();
        let limits = json!({ "limits": { "max_rejected": allowed } });
        let pipeline = bench.pipeline_of(Odd { then: Then::Reject(1) }, &limits);
        let (fail, _) = bench.failure(bench.assign(1, &pipeline)).await;
        assert_eq!(code_of(&fail), (error::TOO_MANY_REJECTED.code, v1::RetryAdvice::Never));
        let message = fail.failure.unwrap().message;
        assert!(message.contains("odd at 4: no number") && !message.contains("my secret"), "{message}");
    }
}

/// The sink worker of the bench stages one stream at a time; dead letters are staged while the rows are.
#[tokio::test]
async fn rejects_are_staged_in_parts_while_their_rows_are_and_none_is_lost() {
    let mut bench = Bench::start();
    let many = 60_000;
    let limits = json!({ "limits": { "max_rejected": 1.0 } });
    let pipeline = bench.pipeline_of(Odd { then: Then::Reject(many) }, &limits);
    let (mut peer, _) = bench.fake.welcomed().await;
    peer.say(Heard::Assign(bench.assign(1, &pipeline))).await;
    let seal = hear_seal(&mut peer).await;
    let counts = seal.manifest.unwrap().counts.unwrap();
    assert_eq!((counts.rows_read, counts.rows_written, counts.rows_rejected), (3 + many as u64, 3, many as u64));
}
