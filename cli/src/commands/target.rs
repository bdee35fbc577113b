//! Which windrow a command talks to: a cluster, or the ledger of pipelines that run on this machine.

use std::path::PathBuf;

use crate::{
    client::Admin,
    local::{Local, state_of},
    worker::default_slots,
};

/// Which coordinators
#[derive(Debug, clap::Args)]
pub struct Coordinators {
    /// Coordinators of the cluster
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "WINDROW_COORDINATOR",
        value_delimiter = ',',
        default_value = "127.0.0.1:7440"
    )]
    pub coordinator: Vec<String>,
}

/// Where to
#[derive(Debug, clap::Args)]
pub struct Target {
    #[command(flatten)]
    cluster: Coordinators,
    /// Work on pipelines that run on this machine: their file, or the folder it is in
    #[arg(long, value_name = "PATH")]
    local: Option<PathBuf>,
}

/// An open way to a windrow.
pub enum Opened {
    Cluster(Admin),
    Here(Box<Local>),
}

impl Target {
    pub fn open(&self) -> anyhow::Result<Opened> {
        Ok(match &self.local {
            Some(path) => Opened::Here(Box::new(Local::start_to_ask(&state_of(path), default_slots())?)),
            None => Opened::Cluster(Admin::connect(&self.cluster.coordinator)?),
        })
    }

    /// How to write the same target again.
    pub fn as_flags(&self) -> String {
        match &self.local {
            Some(path) => format!(" --local {}", path.display()),
            None => String::new(),
        }
    }

    pub fn is_local(&self) -> bool {
        self.local.is_some()
    }
}

impl Opened {
    pub fn admin(&self) -> &Admin {
        match self {
            Self::Cluster(admin) => admin,
            Self::Here(local) => local.admin(),
        }
    }

    pub async fn close(self) {
        if let Self::Here(local) = self {
            local.stop().await;
        }
    }
}
