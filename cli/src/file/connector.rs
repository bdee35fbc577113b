//! What the connectors say about their own parameters, shown where the parameters stand, and whether a sink can do
//! what is asked of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use schemars::Schema;
use serde_json::Value as Json;
use windrow_common::{
    error::{self, ErrorCode},
    manifest::WriteMode,
    pipeline::{Connection, Pattern, Pipeline, SinkSpec, SourceSpec},
    readiness::Condition,
};
use windrow_worker::{
    sink::{Capabilities, SINKS, SchemaChanges, SinkKind},
    source::{self, ParamError, SOURCES, SourceKind},
};

use super::{
    Options,
    connection::Declared,
    decode::Shape,
    diagnostic::{Findings, Span},
    suggest,
    tree::{Node, Step},
    words::in_plain_words,
};

/// Opens a connector to hear what it says of its parameters.
pub(crate) type Open<T> = Box<dyn Fn(&T) -> Result<(), Vec<ParamError>>>;

/// As much of the connectors as reading files needs.
pub struct Connectors {
    pub(crate) sources: Vec<SourceConnector>,
    pub(crate) sinks: Vec<SinkConnector>,
}

pub(crate) struct SourceConnector {
    pub(crate) kind: &'static str,
    pub(crate) connections: &'static [&'static str],
    pub(crate) formats: &'static [&'static str],
    pub(crate) schema: fn() -> Schema,
    pub(crate) open: Open<SourceSpec>,
    pub(crate) tells: fn(&SourceSpec, &Condition) -> Result<(), String>,
    pub(crate) by_window: fn(&SourceSpec) -> bool,
    pub(crate) proves: fn(&SourceSpec, Pattern) -> bool,
    pub(crate) keys: bool,
}

pub(crate) struct SinkConnector {
    pub(crate) kind: &'static str,
    pub(crate) formats: &'static [&'static str],
    pub(crate) connections: &'static [&'static str],
    pub(crate) staging: &'static [&'static str],
    pub(crate) capabilities: Capabilities,
    pub(crate) schema_changes: fn(&SinkSpec) -> SchemaChanges,
    pub(crate) schema: fn() -> Schema,
    pub(crate) open: Open<Pipeline>,
}

impl Connectors {
    /// All that this windrow has.
    pub fn all() -> Self {
        Self { sources: SOURCES.iter().map(Into::into).collect(), sinks: SINKS.iter().map(Into::into).collect() }
    }

    /// The same without opening sinks, which makes their folders: for whoever reads files whose places are not to be
    /// touched. What a sink says of its parameters beyond their keys is not heard.
    pub fn unopened() -> Self {
        let sinks = SINKS.iter().map(|kind| SinkConnector { open: Box::new(|_| Ok(())), ..kind.into() });
        Self { sinks: sinks.collect(), ..Self::all() }
    }

    pub(crate) fn source(&self, spec: &SourceSpec) -> Option<&SourceConnector> {
        source::choose(&self.sources, spec, |source| (source.connections, source.formats))
    }

    /// Whether windows have to be read from the source one by one.
    pub(crate) fn by_window(&self, spec: &SourceSpec) -> bool {
        self.source(spec).is_some_and(|source| (source.by_window)(spec))
    }

    /// Whether the source can prove what it holds.
    pub(crate) fn proves(&self, spec: &SourceSpec, pattern: Pattern) -> bool {
        self.source(spec).is_some_and(|source| (source.proves)(spec, pattern))
    }

    pub(crate) fn sink(&self, format: &str) -> Option<&SinkConnector> {
        self.sinks.iter().find(|sink| sink.formats.contains(&format))
    }
}

impl From<&'static SourceKind> for SourceConnector {
    fn from(kind: &'static SourceKind) -> Self {
        let open = |spec: &SourceSpec| (kind.build)(spec).map(drop);
        Self {
            kind: kind.kind,
            connections: kind.connections,
            formats: kind.formats,
            schema: kind.schema,
            open: Box::new(open),
            tells: kind.tells,
            by_window: kind.by_window,
            proves: kind.proves,
            keys: kind.keys,
        }
    }
}

impl From<&'static SinkKind> for SinkConnector {
    fn from(kind: &'static SinkKind) -> Self {
        Self {
            kind: kind.kind,
            formats: kind.formats,
            connections: kind.connections,
            staging: kind.staging,
            capabilities: kind.capabilities,
            schema_changes: kind.schema_changes,
            schema: kind.schema,
            open: Box::new(|pipeline| (kind.build)(pipeline).map(drop)),
        }
    }
}

/// A `source` or `sink` block with its connection.
pub(crate) struct Place<'a> {
    /// The block's key.
    pub(crate) at: Span,
    pub(crate) node: &'a Node,
    pub(crate) connection: &'a Declared<'a>,
}

impl Place<'_> {
    /// The connector that reads from the connection, its keys checked.
    pub(crate) fn source_connector<'o>(
        &self,
        spec: &SourceSpec,
        options: &'o Options,
        findings: &mut Findings,
    ) -> Option<&'o SourceConnector> {
        let connectors = &options.connectors;
        let Some(source) = connectors.source(spec) else {
            let all_others = connectors.sources.iter().filter(|source| source.formats.is_empty());
            let readable: Vec<_> = all_others.flat_map(|source| source.connections).copied().collect();
            findings
                .error(
                    error::UNKNOWN_CONNECTOR,
                    self.span("from"),
                    format!("nothing can be read from a connection of type {:?}", spec.from.kind),
                )
                .fix(format!("read from a connection of type {}", readable.join(", ")));
            return None;
        };
        self.check_keys(&(source.schema)(), &["from", "cursor"], "`source`", findings);
        Some(source)
    }

    /// That a connector writes the format there, its keys and its capabilities.
    pub(crate) fn check_sink(&self, spec: &SinkSpec, options: &Options, findings: &mut Findings) {
        let connectors = &options.connectors;
        let Some(sink) = connectors.sink(&spec.format) else {
            let formats: Vec<_> = connectors.sinks.iter().flat_map(|sink| sink.formats).copied().collect();
            findings
                .error(
                    error::UNKNOWN_CONNECTOR,
                    self.span("format"),
                    format!("no sink writes the format {:?}", spec.format),
                )
                .fix(match suggest::nearest(&spec.format, formats.iter().copied()) {
                    Some(meant) => format!("write `{meant}`"),
                    None => format!("use one of {}", formats.join(", ")),
                });
            return;
        };
        if !sink.connections.contains(&spec.to.kind.as_str()) {
            findings
                .error(
                    error::UNKNOWN_CONNECTOR,
                    self.span("to"),
                    format!("{} cannot be written to a connection of type {:?}", spec.format, spec.to.kind),
                )
                .fix(format!("write to a connection of type {}", sink.connections.join(", ")));
            return;
        }
        let staging = (!sink.staging.is_empty()).then_some("staging");
        let own: Vec<&str> = ["to", "format", "write", "gather"].into_iter().chain(BY_KEY).chain(staging).collect();
        self.check_keys(&(sink.schema)(), &own, "`sink`", findings);
        self.check_staging(sink, spec, findings);
        self.check_capabilities(sink, spec, findings);
    }

    /// That rows can wait where the sink is to stage them.
    fn check_staging(&self, sink: &SinkConnector, spec: &SinkSpec, findings: &mut Findings) {
        match &spec.staging {
            // For a sink that stages in its own place the key is not known.
            _ if sink.staging.is_empty() => {}
            None => {
                findings
                    .error(
                        error::MISSING_KEY,
                        self.at,
                        format!(
                            "a {} sink keeps no files, and nothing says where rows wait to be committed",
                            spec.format
                        ),
                    )
                    .fix("add `staging` with the name of a connection to object storage or to a folder");
            }
            Some(staging) if !sink.staging.contains(&staging.kind.as_str()) => {
                findings
                    .error(
                        error::UNKNOWN_CONNECTOR,
                        self.span("staging"),
                        format!("nothing can be staged in a connection of type {:?}", staging.kind),
                    )
                    .fix(format!("stage in a connection of type {}", sink.staging.join(", ")));
            }
            Some(_) => {}
        }
    }

    pub(crate) fn open_source(
        &self,
        source: &SourceConnector,
        spec: &SourceSpec,
        options: &Options,
        findings: &mut Findings,
    ) {
        if let Err(errors) = (source.open)(spec) {
            self.report(errors, options, findings);
        }
    }

    /// Opens the sink and leaves no folder behind that was not there: looking at a pipeline changes nothing.
    pub(crate) fn open_sink(&self, pipeline: &Pipeline, options: &Options, findings: &mut Findings) {
        let sink = &pipeline.sink;
        let Some(connector) = options.connectors.sink(&sink.format) else { return };
        let path = sink.params.get("path").and_then(Json::as_str).unwrap_or_default();
        let missing = match &sink.staging {
            Some(staging) => missing_folders(staging, sink.id().as_str()),
            None => missing_folders(&sink.to, path),
        };
        let outcome = (connector.open)(pipeline);
        for folder in missing {
            // Fails for folders that were not made or are not empty, and that is as it should be.
            if fs::remove_dir(&folder).is_err() {
                break;
            }
        }
        if let Err(errors) = outcome {
            self.report(errors, options, findings);
        }
    }

    /// Connectors whose schema does not list their keys check them themselves.
    fn check_keys(&self, schema: &Schema, own: &[&str], block: &str, findings: &mut Findings) {
        let mut shape = Shape::read(schema);
        if shape.closed {
            shape.known.splice(..0, own.iter().map(|&key| key.to_owned()));
            shape.check(self.node, self.at, block, findings);
        }
    }

    fn check_capabilities(&self, sink: &SinkConnector, spec: &SinkSpec, findings: &mut Findings) {
        let can = sink.capabilities;
        if !can.writes.contains(&spec.write) {
            let modes: Vec<_> = can.writes.iter().map(|mode| word(*mode)).collect();
            findings
                .error(
                    error::SINK_UNSUPPORTED,
                    self.span("write"),
                    format!("a {} sink cannot `{}`", spec.format, word(spec.write)),
                )
                .fix(format!("it can {}", modes.join(", ")));
        }
        if !can.partitions && self.node.entry("partition_by").is_some() {
            findings
                .error(
                    error::SINK_UNSUPPORTED,
                    self.span("partition_by"),
                    format!("a {} sink has no partitions", spec.format),
                )
                .fix("remove `partition_by`");
        }
    }

    fn report(&self, errors: Vec<ParamError>, options: &Options, findings: &mut Findings) {
        if errors.is_empty() {
            findings.error(error::BAD_VALUE, self.at, "the connector refuses these parameters");
        }
        for failure in errors {
            let span = self.place(&failure.path);
            if findings.has(failure.code, span) {
                continue;
            }
            let (message, fix) = in_plain_words(&failure.message);
            // Messages that name the parameter need not be told which it is.
            let message = match failure.path.rsplit('.').next() {
                Some(key) if !failure.path.starts_with("connection") && !message.contains(key) => {
                    format!("`{}`: {message}", failure.path)
                }
                _ => message,
            };
            let found = if OF_THE_PLACE.contains(&failure.code) && !options.runs_here {
                findings.warning(failure.code, span, message)
            } else {
                findings.error(failure.code, span, message)
            };
            found.fix = failure.fix.or(fix);
        }
    }

    fn place(&self, path: &str) -> Span {
        match path.strip_prefix("connection") {
            Some(rest) if rest.is_empty() || rest.starts_with('.') => {
                let steps = steps(rest);
                self.connection.node.place(&steps).unwrap_or(self.connection.at)
            }
            _ => self.node.place(&steps(path)).unwrap_or(self.at),
        }
    }

    fn span(&self, key: &str) -> Span {
        self.node.place(&[Step::Key(key.to_owned())]).unwrap_or(self.at)
    }
}

/// `format.nulls[1]` as steps.
fn steps(path: &str) -> Vec<Step> {
    path.split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_or_else(|_| Step::Key(part.to_owned()), Step::Index))
        .collect()
}

/// What is wrong with a place rather than with the file: only the machine that runs the pipeline can tell.
const OF_THE_PLACE: [ErrorCode; 5] =
    [error::SOURCE_MISSING, error::SOURCE_UNREADABLE, error::SINK_FORBIDDEN, error::SINK_FULL, error::SINK_UNREACHABLE];

/// What a `sink` block says of rows that go by their keys.
pub(crate) const BY_KEY: [&str; 3] = ["key", "order", "deleted"];

/// The name of the mode in a file.
pub(crate) fn word(mode: WriteMode) -> &'static str {
    match mode {
        WriteMode::Append => "append",
        WriteMode::ReplaceWindow => "replace_window",
        WriteMode::ReplaceAll => "replace_all",
        WriteMode::Upsert => "upsert",
    }
}

/// The folders on the way to a local target that do not exist, innermost first.
fn missing_folders(connection: &Connection, path: &str) -> Vec<PathBuf> {
    if connection.kind != "local" {
        return Vec::new();
    }
    let root = connection.params.get("root").and_then(Json::as_str).unwrap_or_default();
    let folder = Path::new(root).join(path.trim_matches('/'));
    folder.ancestors().take_while(|ancestor| !ancestor.exists()).map(Path::to_owned).collect()
}
