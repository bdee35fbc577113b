//! Bare etcd transactions through the client the store uses: what a claim cannot be faster than.

use std::time::Duration;

use anyhow::{Result, ensure};
use etcd_client::{Client, Compare, CompareOp, DeleteOptions, Txn, TxnOp};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

/// Creates keys that were not there.
pub(crate) struct Raw {
    client: Client,
    value: Vec<u8>,
    /// Keys so far.
    count: usize,
}

impl Raw {
    pub(crate) fn new(client: Client, value: Vec<u8>) -> Self {
        Self { client, value, count: 0 }
    }

    /// So many transactions of so many puts, one after the other; how long each takes.
    pub(crate) async fn put(&mut self, transactions: usize, puts: usize) -> Result<Vec<Duration>> {
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
    pub(crate) async fn put_side_by_side(&mut self, puts: usize, at_a_time: usize) -> Result<f64> {
        let txns: Vec<Txn> = (0..puts).map(|_| self.next(1)).collect();
        let client = &self.client;
        let began = Instant::now();
        let put = |txn| async move { client.clone().txn(txn).await };
        stream::iter(txns).map(put).buffer_unordered(at_a_time).try_for_each(|_| async { Ok(()) }).await?;
        Ok(puts as f64 / began.elapsed().as_secs_f64())
    }

    /// Deletes what it put.
    pub(crate) async fn clear(mut self) -> Result<()> {
        self.client.delete("raw/", Some(DeleteOptions::new().with_prefix())).await?;
        Ok(())
    }

    /// Keep-alives of one lease a second, one after the other: what workers would cost if their leases were etcd's.
    pub(crate) async fn keep_alive(&mut self, count: usize) -> Result<f64> {
        let lease = self.client.lease_grant(60, None).await?.id();
        let (mut keeper, mut answers) = self.client.lease_keep_alive(lease).await?;
        let began = Instant::now();
        for _ in 0..count {
            keeper.keep_alive().await?;
            ensure!(answers.message().await?.is_some_and(|answer| answer.ttl() > 0), "a lease was not kept");
        }
        Ok(count as f64 / began.elapsed().as_secs_f64())
    }

    fn next(&mut self, puts: usize) -> Txn {
        let keys: Vec<String> = (self.count..self.count + puts).map(|number| format!("raw/{number:032}")).collect();
        self.count += puts;
        let absent = |key: &String| Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
        let put = |key: &String| TxnOp::put(key.as_str(), self.value.as_slice(), None);
        Txn::new().when(keys.iter().map(absent).collect::<Vec<_>>()).and_then(keys.iter().map(put).collect::<Vec<_>>())
    }
}
