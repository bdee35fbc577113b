//! What is proven of a source, and when that is all an attempt does.

use windrow_common::window::Window;

use super::*;

/// Rows that prove themselves.
struct Proven(Odd);

#[async_trait]
impl Source for Proven {
    async fn schema(&self) -> Result<SchemaRef, WorkerError> {
        self.0.schema().await
    }

    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>, WorkerError> {
        self.0.resolve(window).await
    }

    async fn prove(&self, slices: &[Slice], _: &Window) -> Result<Option<String>, WorkerError> {
        Ok(Some(format!("{} with three rows", slices[0].input.name)))
    }

    async fn read(&self, slice: &Slice, window: &Window) -> Result<RowStream, WorkerError> {
        self.0.read(slice, window).await
    }
}

/// The next stream, with a coordinator that knows proofs.
async fn newest(bench: &mut Bench) -> Peer {
    let (peer, _) = bench.fake.next().await;
    peer.welcome_in(windrow_proto::version::NEWEST, Vec::new()).await;
    peer
}

/// A pipeline that reads such rows, and what a load proves of them.
async fn proven(bench: &mut Bench) -> (Pipeline, Vec<u8>) {
    let pipeline = bench.pipeline_of(Proven(Odd { then: Then::End }), &json!({}));
    let mut peer = newest(bench).await;
    peer.say(Heard::Assign(v1::Assign { prove: true, ..bench.assign(1, &pipeline) })).await;
    let seal = hear_seal(&mut peer).await;
    peer.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: true })).await;
    assert_eq!(bench.results.recv().await, Some(AttemptResult::Sealed));
    let proof = seal.manifest.unwrap().proof;
    assert_eq!(proof.len(), 32, "what was read is sealed with the rows");
    (pipeline, proof)
}

#[tokio::test]
async fn a_recount_says_what_it_proves_and_moves_nothing() {
    let mut bench = Bench::start();
    let (pipeline, proof) = proven(&mut bench).await;
    for done in [true, false] {
        let mut peer = newest(&mut bench).await;
        peer.say(Heard::Assign(v1::Assign { prove: true, recount: true, ..bench.assign(2, &pipeline) })).await;
        let Message::Proven(said) = peer.hear_news().await.unwrap() else { panic!("it moved something") };
        assert_eq!((&said.proof, said.seq), (&proof, 0));
        peer.say(Heard::Proven(v1::ProvenReply { request: said.request, done })).await;
        if !done {
            let Message::Fail(fail) = peer.hear_news().await.unwrap() else { panic!("nobody waits for it") };
            assert_eq!(code_of(&fail), ("WR-L006", v1::RetryAdvice::Later));
            peer.say(Heard::Fail(v1::FailReply { request: fail.request, accepted: false })).await;
        }
        let expected = if done { AttemptResult::Compared } else { AttemptResult::Failed };
        assert_eq!(bench.results.recv().await, Some(expected));
    }
}

#[tokio::test]
async fn a_source_that_proves_nothing_cannot_be_counted_again() {
    let mut bench = Bench::start();
    let pipeline = bench.pipeline_of(Odd { then: Then::End }, &json!({}));
    let assign = v1::Assign { prove: true, recount: true, ..bench.assign(1, &pipeline) };
    let (fail, _) = bench.failure(assign).await;
    assert_eq!(code_of(&fail), ("WR-S050", v1::RetryAdvice::Never));
}

/// What was published is in no table here: so it is loaded, whatever was proven.
#[tokio::test]
async fn what_readers_do_not_see_is_loaded() {
    let mut bench = Bench::start();
    let (pipeline, proof) = proven(&mut bench).await;
    let published = Some(v1::Published { proof, seq: 1, rows: 3 });
    let assign = v1::Assign { prove: true, published, ..bench.assign(2, &pipeline) };
    bench.sealed(assign).await;
}
