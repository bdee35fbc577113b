//! What a connection of type `postgres` says, and what a session needs to know of it. References to secrets are resolved
//! here, on the worker, each time a session is opened: a password may have changed.

use std::{fs, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio_postgres::{Config, config::SslMode};
use url::form_urlencoded;
use windrow_common::{error, pipeline::Connection, quantity::Pause};

use super::tls::{Tls, Trust};
use crate::{
    error::{Result, WorkerError},
    storage::{Secret, resolve},
};

/// How long a server may take to take a connection in.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection on which nothing is heard is asked for a sign of life after so long, ...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// ... again after so long, ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// ... and is given up after so many times.
const KEEPALIVE_RETRIES: u32 = 3;
/// A connection whose bytes nobody acknowledges is given up after so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);
/// Most bytes of a file of certificates.
const MAX_CA_BYTES: u64 = 4 << 20;

/// A PostgreSQL database.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// `postgres://user@host:5432/database`, or a reference to one: `${env:NAME}`, `${file:/path}`. An address with a
    /// password in it must be a reference.
    url: String,
    /// A reference to the password, where the address has none: `${env:NAME}` or `${file:/path}`.
    #[serde(default)]
    password: Option<String>,
    /// The role that sessions take on after they logged in (`SET ROLE`), so that its grants hold and no others.
    #[serde(default)]
    role: Option<String>,
    /// How the connection is encrypted, and whom it trusts; what is said here goes before the address's `sslmode` and
    /// `sslrootcert`.
    #[serde(default)]
    tls: Option<TlsParams>,
    /// How long one statement may take; without it as long as the attempt.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    statement_timeout: Option<Pause>,
    /// The primary's address, or a reference to it, where `url` is that of a standby. What is open in the database only the
    /// primary knows.
    #[serde(default)]
    primary: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TlsParams {
    /// As libpq's `sslmode`; `prefer` when nothing says otherwise.
    #[serde(default)]
    mode: Option<Mode>,
    /// A PEM file of the certificates to trust, on the worker; the machine's own when left out.
    #[serde(default)]
    ca: Option<PathBuf>,
}

/// What libpq's `sslmode` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// No encryption.
    Disable,
    /// Encryption where the server has it; whose the certificate is, is not asked.
    Prefer,
    /// Encryption or nothing; whose the certificate is, is not asked unless `ca` is given.
    Require,
    /// The certificate must be signed by one that is trusted.
    VerifyCa,
    /// And be the server's by name.
    VerifyFull,
}

/// What a session is opened with. It holds secrets, so it shows itself to nobody.
#[derive(Clone)]
pub struct Settings {
    pub(super) config: Config,
    pub(super) tls: Tls,
    pub(super) role: Option<String>,
    pub(super) statement_timeout: Option<Duration>,
    /// `host:port/database`, for people.
    pub(super) place: String,
}

impl Settings {
    /// Of the connection's database. `application` is what the server's own lists call the session.
    pub fn of(connection: &Connection, application: &str) -> Result<Self> {
        let params = decode(connection)?;
        let url = params.url.clone();
        Self::read(connection, &params, ("url", &url), application)
    }

    /// Of the primary behind a standby, where the connection names one.
    pub fn of_primary(connection: &Connection, application: &str) -> Result<Option<Self>> {
        let params = decode(connection)?;
        let Some(url) = params.primary.clone() else { return Ok(None) };
        Self::read(connection, &params, ("primary", &url), application).map(Some)
    }

    /// `host:port/database`, never with credentials.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn read(connection: &Connection, params: &Params, (key, address): (&str, &str), application: &str) -> Result<Self> {
        let secret = |key: &str, value: &str| resolved(connection, key, value);
        let address = secret(key, address)?;
        let address = Address::parse(address.reveal()).map_err(|message| bad(connection, key, message))?;
        let mut config: Config = address.text.parse().map_err(|cause| bad(connection, key, told(&cause)))?;
        if let Some(password) = &params.password {
            config.password(secret("password", password)?.reveal());
        }
        let own = params.tls.clone().unwrap_or_default();
        let mode = own.mode.or(address.mode).unwrap_or(Mode::Prefer);
        let ca = own.ca.or(address.ca).map(|path| read_ca(connection, &path)).transpose()?;
        let (ssl_mode, trust) = meaning(mode, ca);
        Tls::set_up(&mut config);
        config
            .application_name(application)
            .connect_timeout(CONNECT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(UNACKNOWLEDGED);
        Ok(Self {
            tls: Tls::new(ssl_mode, trust).map_err(|cause| bad(connection, "tls", cause.to_string()))?,
            place: place_of(&config),
            config,
            role: params.role.clone(),
            statement_timeout: params.statement_timeout.map(|pause| pause.0),
        })
    }
}

fn decode(connection: &Connection) -> Result<Params> {
    serde_json::from_value(Value::Object(connection.params.clone()))
        .map_err(|cause| bad(connection, "", cause.to_string()))
}

fn resolved(connection: &Connection, key: &str, value: &str) -> Result<Secret> {
    resolve(value).map_err(|cause| {
        WorkerError::later(error::SECRET_UNRESOLVED, cause.to_string())
            .at(format!("connection {}, {key}", connection.name))
            .fix("give this worker the variable or the file, or run the pipeline on one that has it")
    })
}

fn bad(connection: &Connection, key: &str, message: String) -> WorkerError {
    WorkerError::never(error::BAD_VALUE, message)
        .at(format!("connection {}, {key}", connection.name))
        .fix("write postgres://user@host:5432/database, and keep the password in a reference")
}

/// A fault of an address in words that hold none of it.
fn told(cause: &tokio_postgres::Error) -> String {
    let detail = std::error::Error::source(cause).map(|source| format!(": {source}")).unwrap_or_default();
    format!("this is no address of a PostgreSQL database{detail}")
}

/// libpq: `require` with certificates to trust is `verify-ca`.
fn meaning(mode: Mode, ca: Option<Vec<u8>>) -> (SslMode, Trust) {
    match mode {
        Mode::Disable => (SslMode::Disable, Trust::Anyone),
        Mode::Prefer => (SslMode::Prefer, Trust::Anyone),
        Mode::Require if ca.is_none() => (SslMode::Require, Trust::Anyone),
        Mode::Require | Mode::VerifyCa => (SslMode::Require, Trust::Signed { ca, by_name: false }),
        Mode::VerifyFull => (SslMode::Require, Trust::Signed { ca, by_name: true }),
    }
}

fn read_ca(connection: &Connection, path: &PathBuf) -> Result<Vec<u8>> {
    let size = fs::metadata(path).map(|found| found.len());
    let read = match size {
        Ok(size) if size > MAX_CA_BYTES => return Err(bad(connection, "tls.ca", "the file is too large".to_owned())),
        _ => fs::read(path),
    };
    read.map_err(|cause| {
        WorkerError::later(error::SECRET_UNRESOLVED, format!("cannot read the file {}", path.display()))
            .because(cause)
            .at(format!("connection {}, tls.ca", connection.name))
            .fix("put the certificates on every worker at this path")
    })
}

/// An address without what our TLS decides and the client library does not know.
struct Address {
    text: String,
    mode: Option<Mode>,
    ca: Option<PathBuf>,
}

impl Address {
    /// Several hosts with their ports are no address by the book, so this looks at the end alone.
    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err("the address does not begin with postgres://".to_owned());
        }
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut mode, mut ca) = (None, None);
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = form_urlencoded::parse(pair.as_bytes()).next() else { continue };
            match &*key {
                "sslmode" => mode = Some(Mode::parse(&value)?),
                "sslrootcert" => ca = (value != "system").then(|| PathBuf::from(&*value)),
                "sslcert" | "sslkey" | "sslcrl" => return Err(format!("`{key}` is not served yet")),
                // What libpq knows of Kerberos changes nothing for who does not speak it.
                "gssencmode" => {}
                _ => kept.push(pair),
            }
        }
        let text = if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) };
        Ok(Self { text, mode, ca })
    }
}

impl Mode {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            other => {
                return Err(format!("sslmode {other:?} is none of disable, prefer, require, verify-ca, verify-full"));
            }
        })
    }
}

fn place_of(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let hosts: Vec<_> = hosts.collect();
    format!("{}/{}", hosts.join(","), config.get_dbname().or(config.get_user()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use windrow_common::pipeline::SourceLimits;

    use super::*;

    fn settings(params: Value) -> Result<Settings> {
        let params = params.as_object().unwrap().clone();
        Settings::of(
            &Connection {
                name: "shop".to_owned(),
                kind: "postgres".to_owned(),
                limits: SourceLimits::default(),
                params,
            },
            "windrow",
        )
    }

    #[test]
    fn an_address_and_its_place_are_read_and_no_secret_is_told() {
        let read = settings(json!({ "url": "postgres://me:canary@db.local:5433/shop?sslmode=require" })).unwrap();
        assert_eq!(read.place(), "db.local:5433/shop");
        assert_eq!(read.tls.mode(), SslMode::Require);
        assert_eq!(read.config.get_password(), Some(&b"canary"[..]));
        for wrong in ["mysql://me:canary@db/shop", "postgres://me:canary@db:port/shop", "me:canary@db"] {
            let error = settings(json!({ "url": wrong })).map(drop).unwrap_err();
            assert_eq!(error.code(), error::BAD_VALUE, "{wrong}");
            assert!(!crate::error::in_one_line(&error).contains("canary"), "{error}");
        }
    }

    #[test]
    fn what_sslmode_means_is_what_libpq_takes_it_for() {
        let of = |mode: Mode, ca: bool| meaning(mode, ca.then(Vec::new));
        assert!(matches!(of(Mode::Disable, true), (SslMode::Disable, _)));
        assert!(matches!(of(Mode::Prefer, false), (SslMode::Prefer, Trust::Anyone)));
        assert!(matches!(of(Mode::Require, false), (SslMode::Require, Trust::Anyone)));
        assert!(matches!(of(Mode::Require, true), (SslMode::Require, Trust::Signed { by_name: false, .. })));
        assert!(matches!(of(Mode::VerifyCa, false), (SslMode::Require, Trust::Signed { by_name: false, .. })));
        assert!(matches!(of(Mode::VerifyFull, true), (SslMode::Require, Trust::Signed { by_name: true, .. })));
        assert!(settings(json!({ "url": "postgres://db/shop?sslmode=allow" })).is_err());
    }

    #[test]
    fn the_block_goes_before_the_address_and_a_missing_reference_may_still_come() {
        let url = "postgres://db/shop?sslmode=verify-full&application_name=x&gssencmode=disable";
        let read = settings(json!({ "url": url, "tls": { "mode": "disable" } })).unwrap();
        assert_eq!(read.tls.mode(), SslMode::Disable);
        assert_eq!(read.config.get_application_name(), Some("windrow"));
        let several =
            settings(json!({ "url": "postgres://me@one:5433,two:5434/shop?target_session_attrs=read-write" }));
        assert_eq!(several.unwrap().place(), "one:5433,two:5434/shop");
        let missing = settings(json!({ "url": "${env:WINDROW_NO_SUCH_URL}" })).map(drop).unwrap_err();
        assert_eq!(missing.code(), error::SECRET_UNRESOLVED);
    }
}
