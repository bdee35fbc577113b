//! One entry of `pipelines`: from its block to a [`Pipeline`].

use windrow_common::{
    compaction::Compaction,
    deletes::Deletes,
    error,
    guard::Guard,
    manifest::WriteMode,
    pipeline::{
        Limits, Pattern, Pipeline, Retries, SinkSpec, SourceSpec, Telemetry, TransformStep, Unchanged, WindowSpec,
    },
    readiness::Readiness,
    schema::SchemaPolicy,
    upsert::Upsert,
};

use super::{
    Options,
    connection::{Connections, Declared},
    connector,
    decode::{self, Shape},
    deletes,
    diagnostic::{Findings, Span},
    document::Defaults,
    gather, late, look, policy, proof, readiness, rules, secret,
    spec::{DeletesBlock, PipelineBlock, SinkBlock, SourceBlock},
    suggest,
    tree::{Entry, Node, Value},
};

/// What pipelines are read with.
pub(crate) struct Reader<'a> {
    pub(crate) connections: &'a Connections<'a>,
    pub(crate) defaults: &'a Defaults<'a>,
    pub(crate) options: &'a Options,
}

impl Reader<'_> {
    /// `None` if anything is wrong with it.
    pub(crate) fn read(&self, entry: &Entry, hidden: &mut Vec<Span>, findings: &mut Findings) -> Option<Pipeline> {
        let before = findings.errors();
        let (at, node) = (entry.key_span, &entry.node);
        let called = format!("pipeline `{}`", entry.key);
        if !decode::is_block(node, at, &called, findings) {
            return None;
        }
        Shape::of::<PipelineBlock>().check(node, at, &called, findings);
        let name = name(entry, findings);
        let pattern: Option<Pattern> =
            node.get("pattern").and_then(|pattern| decode::value(pattern, "pattern", findings));
        let compacts = pattern == Some(Pattern::Compact);
        let source =
            node.entry("source").filter(|_| !compacts).and_then(|source| self.source(source, hidden, findings));
        let cursor = source.as_ref().and_then(|source| source.cursor.as_deref());
        let sink = node.entry("sink").and_then(|sink| self.sink(sink, (pattern, cursor), hidden, findings));
        // What it reads are the files of its own table.
        let source = source.or_else(|| sink.as_ref().filter(|_| compacts).map(own_table));
        let window = node.entry("window").and_then(|window| self.window(window, findings));
        let transform = node.entry("transform").map_or(Some(Vec::new()), |steps| transform(steps, findings));
        let guard = settings::<Guard>(node.entry("guard"), None, "`guard`", findings);
        if let Some(readiness) = node.entry("readiness") {
            hidden.extend(secret::check(&readiness.node, findings).spans);
        }
        let readiness = settings::<Readiness>(node.entry("readiness"), None, "`readiness`", findings);
        let block = look::Block { at, node, connections: self.connections };
        let readiness = readiness.and_then(|readiness| block.whole(readiness, findings));
        let unchanged =
            node.get("unchanged").map_or(Some(Unchanged::default()), |said| decode::value(said, "unchanged", findings));
        let schema = settings::<SchemaPolicy>(node.entry("schema"), self.defaults.schema, "`schema`", findings);
        let retries = settings::<Retries>(node.entry("retries"), self.defaults.retries, "`retries`", findings);
        let limits = settings::<Limits>(node.entry("limits"), self.defaults.limits, "`limits`", findings);
        let compaction = self.compaction(node, compacts, findings);
        let deletes = node.entry("deletes").map_or(Some(None), |entry| self.deletes(entry, findings).map(Some));
        let telemetry =
            settings::<Telemetry>(node.entry("telemetry"), self.defaults.telemetry, "`telemetry`", findings);

        let by_window = source.as_ref().is_some_and(|source| self.options.connectors.by_window(source));
        let parts = rules::Parts {
            pattern,
            by_window,
            source: source.as_ref(),
            window: window.as_ref(),
            sink: sink.as_ref(),
            retries: retries.as_ref(),
            limits: limits.as_ref(),
            compaction: compaction.as_ref().and_then(Option::as_deref),
        };
        rules::Rules { at, node, now: self.options.now, findings }.check(&parts);
        if let (Some(readiness), Some(source)) = (readiness.as_ref(), source.as_ref()) {
            let windows = window.as_ref().map(|_| by_window);
            let per_task = window.as_ref().map_or(1, |window| window.per_task);
            let asked = readiness::Asked { at, name: &entry.key, node, readiness, source, per_task, windows };
            asked.check(self.options, findings);
        }
        if let (Some(schema), Some(sink)) = (schema, sink.as_ref()) {
            policy::Asked { at, node, policy: schema, sink, limits: limits.as_ref() }.check(self.options, findings);
        }
        if let (Some(pattern), Some(unchanged), Some(source), Some(sink)) =
            (pattern, unchanged, source.as_ref(), sink.as_ref())
        {
            let asked = proof::Asked { at, node, pattern, unchanged, window: window.as_ref(), source, sink };
            asked.check(self.options, findings);
        }
        if let (Some(Some(deletes)), Some(source), Some(sink)) = (&deletes, source.as_ref(), sink.as_ref()) {
            deletes::Asked { at, node, deletes, source, sink }.check(self.options, findings);
        }
        if findings.errors() > before {
            return None;
        }
        let one_by_one = by_window || readiness.as_ref().is_some_and(|readiness| readiness.publish.is_some());
        let pipeline = Pipeline {
            name: name?,
            pattern: pattern?,
            source: source?,
            window: window.map(|window| if one_by_one { WindowSpec { per_task: 1, ..window } } else { window }),
            transform: transform?,
            sink: sink?,
            readiness: Box::new(readiness?),
            guard: guard?,
            unchanged: unchanged?,
            schema: schema?,
            compaction: compaction?,
            deletes: deletes?,
            retries: retries?,
            limits: limits?,
            telemetry: telemetry?,
            beside: None,
        };
        readiness::check_told(&pipeline, entry, findings);
        late::check(&pipeline, entry, self.options, findings);
        self.open_sink(&pipeline, entry, findings);
        (findings.errors() == before).then_some(pipeline)
    }

    /// The pipeline that loads what comes late to this one's windows, where that has a place of its own.
    pub(crate) fn beside(&self, pipeline: &Pipeline, entry: &Entry, findings: &mut Findings) -> Option<Pipeline> {
        let beside = late::beside(pipeline)?;
        self.open_sink(&beside, entry, findings);
        Some(beside)
    }

    /// A pipeline that does nothing else compacts without being told how.
    fn compaction(&self, node: &Node, compacts: bool, findings: &mut Findings) -> Option<Option<Box<Compaction>>> {
        match node.entry("compaction") {
            Some(entry) => {
                settings::<Compaction>(Some(entry), None, "`compaction`", findings).map(|found| Some(Box::new(found)))
            }
            None => Some(compacts.then(Box::default)),
        }
    }

    fn deletes(&self, entry: &Entry, findings: &mut Findings) -> Option<Box<Deletes>> {
        let block: DeletesBlock = decode::block(&entry.node, entry.key_span, "`deletes`", findings)?;
        let from = match &block.from {
            Some(name) => Some(Box::new(self.connection(name, entry.node.get("from"), findings)?.connection.clone()?)),
            None => None,
        };
        Some(Box::new(Deletes { every: block.every, from, max_deleted: block.max_deleted }))
    }

    fn source(&self, entry: &Entry, hidden: &mut Vec<Span>, findings: &mut Findings) -> Option<SourceSpec> {
        let before = findings.errors();
        let secrets = secret::check(&entry.node, findings);
        hidden.extend(secrets.spans);
        let block: SourceBlock = decode::block(&entry.node, entry.key_span, "`source`", findings)?;
        let declared = self.connection(&block.from, entry.node.get("from"), findings)?;
        let spec = SourceSpec { from: declared.connection.clone()?, cursor: block.cursor, params: block.params };
        let place = connector::Place { at: entry.key_span, node: &entry.node, connection: declared };
        let connector = place.source_connector(&spec, self.options, findings)?;
        if findings.errors() == before && !declared.unresolved && !secrets.unresolved {
            place.open_source(connector, &spec, self.options, findings);
        }
        (findings.errors() == before).then_some(spec)
    }

    fn sink(
        &self,
        entry: &Entry,
        (pattern, cursor): (Option<Pattern>, Option<&str>),
        hidden: &mut Vec<Span>,
        findings: &mut Findings,
    ) -> Option<SinkSpec> {
        let before = findings.errors();
        let secrets = secret::check(&entry.node, findings);
        hidden.extend(secrets.spans);
        let block: SinkBlock = decode::block(&entry.node, entry.key_span, "`sink`", findings)?;
        let declared = self.connection(&block.to, entry.node.get("to"), findings)?;
        let staging = match &block.staging {
            Some(name) => {
                Some(Box::new(self.connection(name, entry.node.get("staging"), findings)?.connection.clone()?))
            }
            None => None,
        };
        let usual = match pattern? {
            Pattern::Full => WriteMode::ReplaceAll,
            Pattern::Incremental => WriteMode::ReplaceWindow,
            // It adds no rows, and takes none away.
            Pattern::Compact => WriteMode::Append,
        };
        let write = block.write.unwrap_or(usual);
        let order = match block.order.is_empty() {
            true => cursor.map(str::to_owned).into_iter().collect(),
            false => block.order,
        };
        let gather = gather::read(entry, &block.params, findings)?;
        let upsert = Upsert { key: block.key, order, deleted: block.deleted };
        let spec = SinkSpec {
            to: declared.connection.clone()?,
            format: block.format,
            write,
            upsert: (write == WriteMode::Upsert).then(|| Box::new(upsert)),
            staging,
            gather,
            params: block.params,
        };
        let place = connector::Place { at: entry.key_span, node: &entry.node, connection: declared };
        place.check_sink(&spec, self.options, findings);
        (findings.errors() == before).then_some(spec)
    }

    /// The sink's own checks need the whole pipeline.
    fn open_sink(&self, pipeline: &Pipeline, entry: &Entry, findings: &mut Findings) {
        let Some(sink) = entry.node.entry("sink") else { return };
        let Some(declared) = self.connections.get(pipeline.sink.to.name.as_str()) else { return };
        let staging = pipeline.sink.staging.as_ref().and_then(|staging| self.connections.get(staging.name.as_str()));
        if !declared.unresolved && staging.is_none_or(|staging| !staging.unresolved) {
            let place = connector::Place { at: sink.key_span, node: &sink.node, connection: declared };
            place.open_sink(pipeline, self.options, findings);
        }
    }

    fn connection(&self, name: &str, value: Option<&Node>, findings: &mut Findings) -> Option<&Declared<'_>> {
        if let Some(declared) = self.connections.get(name) {
            return Some(declared);
        }
        let span = value.map(|value| value.span)?;
        let fix = match suggest::nearest(name, self.connections.keys().copied()) {
            Some(meant) => format!("write `{meant}`"),
            None => format!("declare `{name}` under `connections`"),
        };
        findings.error(error::UNKNOWN_CONNECTION, span, format!("there is no connection `{name}`")).fix(fix);
        None
    }

    fn window(&self, entry: &Entry, findings: &mut Findings) -> Option<WindowSpec> {
        let node = match self.defaults.timezone {
            Some(zone) => {
                let defaults = Node { span: zone.key_span, value: Value::Map(vec![zone.clone()]) };
                entry.node.clone().over(&defaults)
            }
            None => entry.node.clone(),
        };
        decode::block(&node, entry.key_span, "`window`", findings)
    }
}

/// The source of a pipeline that has none.
fn own_table(sink: &SinkSpec) -> SourceSpec {
    SourceSpec { from: sink.to.clone(), cursor: None, params: serde_json::Map::new() }
}

fn name(entry: &Entry, findings: &mut Findings) -> Option<windrow_common::id::PipelineName> {
    match entry.key.parse() {
        Ok(name) => Some(name),
        Err(cause) => {
            findings.error(error::BAD_VALUE, entry.key_span, format!("{cause}")).fix("rename the pipeline");
            None
        }
    }
}

fn transform(entry: &Entry, findings: &mut Findings) -> Option<Vec<TransformStep>> {
    let Value::List(steps) = &entry.node.value else {
        findings
            .error(
                error::BAD_VALUE,
                entry.key_span,
                format!("`transform` is {}, not a list of steps", entry.node.kind()),
            )
            .fix("write each step as `- sql: SELECT ...`");
        return None;
    };
    let before = findings.errors();
    let steps: Vec<TransformStep> = steps.iter().filter_map(|step| self::step(step, findings)).collect();
    (findings.errors() == before).then_some(steps)
}

fn step(node: &Node, findings: &mut Findings) -> Option<TransformStep> {
    let [entry] = node.entries() else {
        findings
            .error(error::BAD_VALUE, node.span, "a step of `transform` is one key and its value")
            .fix("write `- sql: SELECT ...`");
        return None;
    };
    if entry.key != "sql" {
        findings
            .error(error::UNKNOWN_KEY, entry.key_span, format!("{:?} is no step of `transform`", entry.key))
            .fix("write `sql`");
        return None;
    }
    decode::value(&entry.node, "sql", findings).map(TransformStep::Sql)
}

/// A block that every pipeline has, declared or not, over the defaults.
fn settings<T>(own: Option<&Entry>, default: Option<&Entry>, called: &str, findings: &mut Findings) -> Option<T>
where
    T: Default + serde::de::DeserializeOwned + schemars::JsonSchema,
{
    match (own, default) {
        (None, None) => Some(T::default()),
        (Some(entry), None) | (None, Some(entry)) => decode::block(&entry.node, entry.key_span, called, findings),
        (Some(own), Some(default)) => {
            let node = own.node.clone().over(&default.node);
            decode::block(&node, own.key_span, called, findings)
        }
    }
}
