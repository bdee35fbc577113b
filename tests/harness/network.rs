//! A network of our own, to be cut: a bridge on this machine and namespaces that hang on it. A process in a namespace has
//! an address of its own; cutting it takes its cable out of the bridge, so that packets vanish as they do between
//! machines, and no connection is told. It needs root and is gone when dropped.

use std::{
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::{Context, Result, ensure};

/// A bridge with the address `10.x.y.1`.
pub struct Network {
    bridge: String,
    subnet: String,
    next: AtomicU8,
}

/// A namespace on the bridge.
pub struct Namespace {
    name: String,
    cable: String,
    bridge: String,
    pub address: String,
}

impl Network {
    /// `None`, with the reason, where it cannot be had.
    pub fn create() -> Result<Self, String> {
        // The process id keeps networks of tests that run side by side apart.
        let id = std::process::id();
        let network = Self {
            bridge: format!("wrb{id}"),
            subnet: format!("10.{}.{}", 64 + (id >> 8) % 128, id % 256),
            next: AtomicU8::new(2),
        };
        let made = ip(&["link", "add", &network.bridge, "type", "bridge"])
            .and_then(|()| ip(&["addr", "add", &format!("{}/24", network.address()), "dev", &network.bridge]))
            .and_then(|()| ip(&["link", "set", &network.bridge, "up"]));
        made.map(|()| network).map_err(|error| format!("no network namespaces here: {error:#}"))
    }

    /// This machine's own address on the bridge.
    pub fn address(&self) -> String {
        format!("{}.1", self.subnet)
    }

    pub fn namespace(&self) -> Result<Namespace> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        ensure!(number < 255, "the network has no more addresses");
        let (id, name) = (std::process::id(), format!("{}n{number}", self.bridge));
        let (cable, inner) = (format!("wr{id}h{number}"), format!("wr{id}c{number}"));
        let address = format!("{}.{number}", self.subnet);
        ip(&["netns", "add", &name])?;
        let namespace = Namespace { name, cable, bridge: self.bridge.clone(), address };
        let Namespace { name, cable, address, .. } = &namespace;
        ip(&["link", "add", cable, "type", "veth", "peer", "name", &inner])?;
        ip(&["link", "set", &inner, "netns", name])?;
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", &inner])?;
        ip(&["-n", name, "link", "set", &inner, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["link", "set", cable, "up"])?;
        namespace.heal()?;
        Ok(namespace)
    }
}

impl Namespace {
    /// What a command begins with to run in here.
    pub fn wrapper(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// From now on nothing gets in or out, and nobody is told.
    pub fn cut(&self) -> Result<()> {
        ip(&["link", "set", &self.cable, "nomaster"])
    }

    pub fn heal(&self) -> Result<()> {
        ip(&["link", "set", &self.cable, "master", &self.bridge])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with the namespace.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.bridge]);
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("there is no command `ip`")?;
    ensure!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
