//! What all cells stand on: three etcd members, a database, a network that can be cut where that is allowed, and the oracle's
//! Python.

use std::{fs::File, io::Write, path::PathBuf};

use anyhow::Result;
use windrow_tests::{etcd::Etcd, network::Network, postgres::Postgres, reader, skip::skip};

pub(crate) struct Ground {
    pub(crate) etcd: Etcd,
    /// Absent where network namespaces cannot be had; cells that cut are skipped then.
    pub(crate) network: Option<Network>,
    pub(crate) python: PathBuf,
    /// Absent where there is no server; cells of its sink are skipped then.
    pub(crate) postgres: Option<Postgres>,
}

impl Ground {
    /// `None` after saying what is missing.
    pub(crate) async fn prepare(test: &str) -> Option<Self> {
        let python = match reader::python() {
            Ok(python) => python,
            Err(reason) => {
                skip(test, &reason);
                return None;
            }
        };
        let network = Network::create().map_err(|reason| println!("{test}: {reason}")).ok();
        let host = network.as_ref().map_or("127.0.0.1".to_owned(), Network::address);
        let Some(etcd) = Etcd::start_on(&host, 3, &[]).await.unwrap() else {
            skip(test, "there is no etcd");
            return None;
        };
        let postgres = database(&host).unwrap();
        Some(Self { etcd, network, python, postgres })
    }

    /// The database's address for all processes.
    pub(crate) fn database(&self) -> Option<String> {
        Some(self.postgres.as_ref()?.url().replace("127.0.0.1", &self.host()))
    }

    /// The address at which processes outside of namespaces are reached by those inside.
    pub(crate) fn host(&self) -> String {
        self.network.as_ref().map_or("127.0.0.1".to_owned(), Network::address)
    }
}

/// A server that lets those inside of namespaces in, too.
fn database(host: &str) -> Result<Option<Postgres>> {
    let listen = format!("listen_addresses=127.0.0.1,{host}");
    let settings: &[&str] = if host == "127.0.0.1" { &[] } else { &[&listen] };
    let Some(postgres) = Postgres::start_with(settings)? else { return Ok(None) };
    let mut access = File::options().append(true).open(postgres.data().join("pg_hba.conf"))?;
    writeln!(access, "host all all 10.0.0.0/8 scram-sha-256")?;
    postgres.psql("SELECT pg_reload_conf()")?;
    Ok(Some(postgres))
}
