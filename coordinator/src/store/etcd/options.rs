//! How to reach an etcd cluster.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use super::super::StoreError;

/// etcd closes connections that ping more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(6);

/// Where the cluster is and who we are there.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// `http://host:port` or `https://host:port`, best every member of the cluster.
    pub endpoints: Vec<String>,
    pub credentials: Option<EtcdCredentials>,
    /// Needed for `https` endpoints whose certificates no public authority signed, and for client certificates.
    pub tls: Option<EtcdTls>,
    /// For every call. A call that takes longer has an unknown outcome.
    pub timeout: Duration,
}

/// A user of etcd's own access control.
#[derive(Clone)]
pub struct EtcdCredentials {
    pub user: String,
    pub password: String,
}

/// PEM files.
#[derive(Clone, Debug, Default)]
pub struct EtcdTls {
    /// The authority that signed the servers' certificates.
    pub ca: Option<PathBuf>,
    pub client: Option<EtcdIdentity>,
}

/// A client certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct EtcdIdentity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self { endpoints: Vec::new(), credentials: None, tls: None, timeout: Duration::from_secs(2) }
    }
}

impl EtcdOptions {
    pub(super) fn connect_options(&self) -> Result<ConnectOptions, StoreError> {
        let mut options = ConnectOptions::new()
            .with_require_leader(true)
            .with_connect_timeout(self.timeout)
            // A member that hangs keeps its connections open; only an unanswered ping gives it away.
            .with_keep_alive(PING_INTERVAL, self.timeout)
            .with_keep_alive_while_idle(false)
            .with_auto_token_refresh(true);
        if let Some(EtcdCredentials { user, password }) = &self.credentials {
            options = options.with_user(user, password);
        }
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.read()?);
        }
        Ok(options)
    }
}

impl EtcdTls {
    fn read(&self) -> Result<TlsOptions, StoreError> {
        let mut tls = TlsOptions::new();
        if let Some(ca) = &self.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read_pem(ca)?));
        }
        if let Some(EtcdIdentity { certificate, key }) = &self.client {
            tls = tls.identity(Identity::from_pem(read_pem(certificate)?, read_pem(key)?));
        }
        Ok(tls)
    }
}

impl fmt::Debug for EtcdCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdCredentials").field("user", &self.user).finish_non_exhaustive()
    }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|error| StoreError::Broken(format!("cannot read {}: {error}", path.display())))
}
