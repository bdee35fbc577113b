//! A proxy on loopback that does to traffic what networks and stores do to it: delays, cuts, silence, half-closed
//! connections, errors, and work that was done although its reply was lost. It knows nothing of windrow.
//!
//! ```text
//! let proxy = FaultProxy::start("127.0.0.1:9000", Speaks::Http1, 7).await?;
//! let met = proxy.meet(Rule::on("PUT", "_delta_log/").times(1).with(Fault::LoseReply))?;
//! // .. whoever talks to proxy.address() ..
//! assert_eq!(met.times(), 1);
//! ```
//!
//! `rule` says which request or connection meets which fault; `http` passes requests of HTTP/1.1 on one by one, `message`
//! is how they look on the wire; `relay` passes bytes on as they are, for gRPC, etcd and databases. What is left to
//! chance comes from the seed, in the order in which requests arrive.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Result, ensure};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

mod http;
mod message;
mod relay;
mod rule;

use rule::Rules;

pub use message::Request;
pub use rule::{Fault, Met, Rewriting, Rule, Seen};

/// What the proxy understands of what it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Nothing: rules are about connections.
    Bytes,
    /// Rules are about requests.
    Http1,
}

/// See the module. Everything ends when it is dropped.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// What connections share.
struct Shared {
    upstream: String,
    speaks: Speaks,
    rules: Mutex<Rules>,
    /// Whether bytes pass.
    open: watch::Sender<bool>,
    /// Whether those of replies do.
    answering: watch::Sender<bool>,
    connections: Mutex<JoinSet<()>>,
}

impl FaultProxy {
    /// Stands in front of `upstream`, an address with a port, on a free port of its own.
    pub async fn start(upstream: impl Into<String>, speaks: Speaks, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let shared = Arc::new(Shared {
            upstream: upstream.into(),
            speaks,
            rules: Mutex::new(Rules::seeded(seed)),
            open: watch::Sender::new(true),
            answering: watch::Sender::new(true),
            connections: Mutex::default(),
        });
        let proxy = Self { address: listener.local_addr()?, shared, accepting: Mutex::default() };
        proxy.accept(listener);
        Ok(proxy)
    }

    /// Where to connect to.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on requests, or connections, meet the rule. The handle tells how many did.
    pub fn meet(&self, rule: Rule) -> Result<Met> {
        let requests = self.shared.speaks == Speaks::Http1;
        ensure!(requests || !rule.needs_requests(), "{rule:?} is about requests, and this proxy sees only bytes");
        Ok(self.shared.rules().add(rule))
    }

    /// No rule is left; connections go on as they are.
    pub fn heal(&self) {
        self.shared.rules().clear();
    }

    /// The requests that came, oldest first, with what became of them; as many as are kept.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.rules().seen()
    }

    /// No byte passes, and nobody is told: connections stay, new ones are accepted.
    pub fn freeze(&self) {
        self.shared.open.send_replace(false);
    }

    /// Bytes pass again, those that waited first.
    pub fn thaw(&self) {
        self.shared.open.send_replace(true);
        self.shared.answering.send_replace(true);
    }

    /// What clients say goes on to be heard, and no answer comes back. [`Self::thaw`] ends it.
    pub fn mute(&self) {
        self.shared.answering.send_replace(false);
    }

    /// Ends all connections there are.
    pub fn sever(&self) {
        self.shared.connections().abort_all();
    }

    /// Refuses new connections and ends those there are.
    pub async fn down(&self) {
        let accepting = lock(&self.accepting).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // The port is free once the task is gone.
            let _ = accepting.await;
        }
        self.sever();
    }

    /// Takes connections again, on the same port.
    pub async fn up(&self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.accept(listener);
        Ok(())
    }

    fn accept(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Small pieces are passed on as they come.
                let _ = client.set_nodelay(true);
                let mut connections = shared.connections();
                while connections.try_join_next().is_some() {}
                connections.spawn(serve(Arc::clone(&shared), client));
            }
        });
        if let Some(before) = lock(&self.accepting).replace(task) {
            before.abort();
        }
    }
}

/// A connection's errors are the point of the exercise: both ends find them out by themselves.
async fn serve(shared: Arc<Shared>, client: TcpStream) {
    let _ = match shared.speaks {
        Speaks::Bytes => relay::serve(&shared, client).await,
        Speaks::Http1 => http::serve(&shared, client).await,
    };
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        lock(&self.rules)
    }

    fn connections(&self) -> MutexGuard<'_, JoinSet<()>> {
        lock(&self.connections)
    }

    async fn dial(&self) -> std::io::Result<TcpStream> {
        let upstream = TcpStream::connect(&self.upstream).await?;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }

    /// Waits while the proxy is frozen.
    async fn passage(&self) {
        // The sender lives as long as `self`, so waiting ends by its word alone.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Waits while no answer passes.
    async fn answer(&self) {
        let _ = self.answering.subscribe().wait_for(|answering| *answering).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(accepting) = lock(&self.accepting).take() {
            accepting.abort();
        }
        self.sever();
    }
}
