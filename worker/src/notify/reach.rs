//! Whom events may be sent to. An address in a pipeline file must not make a worker talk to what only the worker can reach: private
//! addresses are told nothing unless their host is listed, whatever a name resolves to at the moment of connecting.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};
use windrow_common::{error, readiness::Notify};

use crate::source::ParamError;

/// What is wrong with a receiver as the file has it; references are not looked behind.
///
/// # Errors
/// All that is wrong; places are relative to `readiness`.
pub fn check(notify: &Notify) -> Result<(), Vec<ParamError>> {
    if notify.url.contains("${") {
        return Ok(());
    }
    address(&notify.url, &notify.private).map(drop).map_err(|message| {
        let fix = "write an https:// address that can be reached from anywhere, or list its host under `private`";
        vec![ParamError {
            path: "notify.url".to_owned(),
            code: error::EVENT_FORBIDDEN,
            message,
            fix: Some(fix.to_owned()),
        }]
    })
}

/// The address, if it may be told anything.
pub(super) fn address(text: &str, listed: &[String]) -> Result<Url, String> {
    // The text may hold a secret, so it is not repeated.
    let url = Url::parse(text).map_err(|cause| format!("it is no address: {cause}"))?;
    let Some(host) = url.host() else { return Err("it names no host".to_owned()) };
    let listed = is_listed(&host.to_string(), listed);
    let private = match host {
        Host::Domain(_) => false,
        Host::Ipv4(address) => !is_public(address.into()),
        Host::Ipv6(address) => !is_public(address.into()),
    };
    match url.scheme() {
        _ if private && !listed => Err(format!("{host} is a private address, and not listed")),
        "https" => Ok(url),
        "http" if listed => Ok(url),
        "http" => Err("events are sent by https, but for hosts that are listed".to_owned()),
        other => Err(format!("events are not sent by {other}")),
    }
}

/// Resolves names to addresses that may be told.
pub(super) struct Resolver {
    listed: Vec<String>,
}

impl Resolver {
    pub(super) fn new(listed: &[String]) -> Self {
        Self { listed: listed.to_vec() }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let listed = is_listed(name.as_str(), &self.listed);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let may: Vec<SocketAddr> = found.filter(|address| listed || is_public(address.ip())).collect();
            if may.is_empty() {
                let why = format!("{} has no address that may be told events", name.as_str());
                return Err(Box::new(io::Error::new(io::ErrorKind::PermissionDenied, why)) as _);
            }
            let addresses: Addrs = Box::new(may.into_iter());
            Ok(addresses)
        })
    }
}

fn is_listed(host: &str, listed: &[String]) -> bool {
    listed.iter().any(|name| name.eq_ignore_ascii_case(host.trim_matches(['[', ']'])))
}

/// Whether an address is one of the internet's.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast();
    // "This network", carriers' own, protocol assignments, benchmarks, reserved.
    let reserved = a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240;
    !special && !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped().or_else(|| translated(address)) {
        return is_public_v4(inner);
    }
    // What is given out to be reached is 2000::/3; of it, documentation is nobody's.
    let [first, second, ..] = address.segments();
    (0x2000..0x4000).contains(&first) && (first, second) != (0x2001, 0x0db8)
}

/// The address of version 4 that gateways put behind one of version 6.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn private_addresses_and_plain_http_are_for_hosts_that_are_listed() {
        let listed = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let may = |text: &str, hosts: &[&str]| address(text, &listed(hosts)).is_ok();
        assert!(may("https://example.com/hook", &[]) && may("https://93.184.216.34/", &[]));
        for refused in [
            "http://example.com/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://0x7f.1/",
            "ftp://example.com/",
            "x",
            "mailto:a@b",
        ] {
            assert!(!may(refused, &[]), "{refused}");
        }
        assert!(may("http://127.0.0.1:8080/", &["127.0.0.1"]) && may("http://hooks.internal/", &["Hooks.internal"]));
        assert!(may("http://[::1]/", &["::1"]) && !may("http://127.0.0.2/", &["127.0.0.1"]));
    }

    /// A name may lead to a private address, today or tomorrow.
    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_told_nothing_unless_it_is_listed() {
        let resolve =
            |listed: Vec<String>| async move { Resolver { listed }.resolve("localhost".parse().unwrap()).await };
        let refused = resolve(Vec::new()).await.err().unwrap().to_string();
        assert!(refused.contains("no address that may be told"), "{refused}");
        assert!(resolve(vec!["localhost".to_owned()]).await.unwrap().count() > 0);
    }
}
