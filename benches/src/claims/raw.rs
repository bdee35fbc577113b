//! Bare etcd transactions through the client the store uses: what a claim cannot be faster than.

use std::time::Duration;

use anyhow::{Result, ensure};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

/// Creates keys that were not there.
pub(super) struct Raw {
    client: Client,
    value: Vec<u8>,
    /// Keys so far.
    count: usize,
}

impl Raw {
    pub(super) fn new(client: Client, value: Vec<u8>) -> Self {
        Self { client, value, count: 0 }
    }

    /// So many transactions of so many puts, one after the other; how long each takes.
    pub(super) async fn put(&mut self, transactions: usize, puts: usize) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(transactions);
        for _ in 0..transactions {
            let txn = self.next(puts);
            let began = Instant::now();
            let answer = self.client.txn(txn).await?;
            times.push(began.elapsed());
            ensure!(answer.succeeded(), "a key was there already");
        }
        Ok(times)
    }

    /// Single puts with so many under way; puts a second.
    pub(super) async fn put_side_by_side(&mut self, puts: usize, at_a_time: usize) -> Result<f64> {
        let txns: Vec<Txn> = (0..puts).map(|_| self.next(1)).collect();
        let client = &self.client;
        let began = Instant::now();
        let put = |txn| async move { client.clone().txn(txn).await };
        stream::iter(txns).map(put).buffer_unordered(at_a_time).try_for_each(|_| async { Ok(()) }).await?;
        Ok(puts as f64 / began.elapsed().as_secs_f64())
    }

    fn next(&mut self, puts: usize) -> Txn {
        let keys: Vec<String> = (self.count..self.count + puts).map(|number| format!("raw/{number:032}")).collect();
        self.count += puts;
        let absent = |key: &String| Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
        let put = |key: &String| TxnOp::put(key.as_str(), self.value.as_slice(), None);
        Txn::new().when(keys.iter().map(absent).collect::<Vec<_>>()).and_then(keys.iter().map(put).collect::<Vec<_>>())
    }
}
