//! Several files as one document: the connections, defaults and pipelines of all of them together.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use windrow_common::{
    error,
    pipeline::{Limits, Retries, Telemetry},
    schema::SchemaPolicy,
};

use super::{
    Loaded, Options, SourceFile,
    connection::{self, Connections},
    decode::{self, Shape},
    diagnostic::{Findings, Span},
    many, pipeline, retention, rules,
    spec::{DefaultsBlock, FileBlock},
    tree::{self, Entry, Node, Value},
};

/// The defaults as they were declared; decoded where they apply.
#[derive(Debug, Default)]
pub(crate) struct Defaults<'a> {
    pub(crate) timezone: Option<&'a Entry>,
    pub(crate) retries: Option<&'a Entry>,
    pub(crate) limits: Option<&'a Entry>,
    pub(crate) telemetry: Option<&'a Entry>,
    pub(crate) schema: Option<&'a Entry>,
}

pub(crate) fn read(files: Vec<SourceFile>, mut findings: Findings, options: &Options) -> Loaded {
    let trees: Vec<Node> =
        files.iter().enumerate().filter_map(|(index, file)| tree(index, file, &mut findings)).collect();
    let mut hidden = Vec::new();
    let connections = connections(&trees, &files, (&mut hidden, &mut findings));
    let defaults = defaults(&trees, &mut findings);
    let reader = pipeline::Reader { connections: &connections, defaults: &defaults, options };
    let mut pipelines = Vec::new();
    let entries = named((&trees, &files), "pipelines", &mut findings).into_iter();
    let entries: Vec<_> =
        entries.flat_map(|entry| many::expanded(entry, &connections, options.list.as_ref(), &mut findings)).collect();
    for entry in entries.iter().map(Cow::as_ref) {
        let Some(pipeline) = reader.read(entry, &mut hidden, &mut findings) else { continue };
        let beside = reader.beside(&pipeline, entry, &mut findings);
        pipelines.extend([Some(pipeline), beside].into_iter().flatten().map(|pipeline| (entry, pipeline)));
    }
    many::check_names(&pipelines, &mut findings);
    rules::check_shared_sinks(&pipelines, &mut findings);
    retention::check(&pipelines, &mut findings);
    let pipelines = pipelines.into_iter().map(|(_, pipeline)| pipeline).collect();
    Loaded { pipelines, diagnostics: findings.into_sorted(), files, hidden }
}

/// A file's tree, its outermost block checked.
fn tree(index: usize, file: &SourceFile, findings: &mut Findings) -> Option<Node> {
    if findings.has(error::FILE_UNREADABLE, Span::file(index)) {
        return None;
    }
    let node = match tree::parse(index, &file.text) {
        Ok(node) => node,
        Err(failure) => {
            findings.error(error::NOT_YAML, failure.span, failure.message).fix("mend the YAML here or just above");
            return None;
        }
    };
    let top = Span { file: index, line: 1, column: 1, length: 1 };
    if !decode::is_block(&node, top, "the file", findings) {
        return None;
    }
    Shape::of::<FileBlock>().check(&node, top, "the file", findings);
    if let Some(version) = node.get("version").filter(|version| version.json() != serde_json::json!(1)) {
        findings
            .error(error::BAD_VALUE, version.span, "this windrow reads files of version 1")
            .fix("write `version: 1`, or use the windrow the file was written for");
    }
    Some(node)
}

/// The entries of a block that every file may have a part of. Names are unique over all files.
fn named<'a>((trees, files): (&'a [Node], &[SourceFile]), block: &str, findings: &mut Findings) -> Vec<&'a Entry> {
    let mut known: BTreeMap<&str, &Entry> = BTreeMap::new();
    let mut entries = Vec::new();
    for part in trees.iter().filter_map(|tree| tree.entry(block)) {
        if part.node.value == Value::Null
            || !decode::is_block(&part.node, part.key_span, &format!("`{block}`"), findings)
        {
            continue;
        }
        decode::check_unique(&part.node, findings);
        for entry in part.node.entries() {
            match known.get(entry.key.as_str()) {
                Some(first) if first.key_span.file != entry.key_span.file => findings
                    .error(
                        error::DUPLICATE_KEY,
                        entry.key_span,
                        format!(
                            "`{}` stands under `{block}` of {} too, in line {}",
                            entry.key,
                            files.get(first.key_span.file).map_or("another file", |file| file.name.as_str()),
                            first.key_span.line
                        ),
                    )
                    .fix("keep one of the two, or rename one"),
                // Twice in one file: reported above.
                Some(_) => {}
                None => {
                    known.insert(&entry.key, entry);
                    entries.push(entry);
                }
            }
        }
    }
    entries
}

fn connections<'a>(
    trees: &'a [Node],
    files: &[SourceFile],
    (hidden, findings): (&mut Vec<Span>, &mut Findings),
) -> Connections<'a> {
    let mut connections = Connections::new();
    for entry in named((trees, files), "connections", findings) {
        let folder = files.get(entry.key_span.file).map_or(Path::new("/"), |file| &file.folder);
        let declared = connection::read(&entry.key, (entry.key_span, &entry.node), folder, (hidden, findings));
        connections.insert(&entry.key, declared);
    }
    connections
}

/// The one `defaults` block, which one of the files may have.
fn defaults<'a>(trees: &'a [Node], findings: &mut Findings) -> Defaults<'a> {
    let mut blocks = trees.iter().filter_map(|tree| tree.entry("defaults"));
    let Some(first) = blocks.next() else { return Defaults::default() };
    for other in blocks.filter(|other| other.key_span.file != first.key_span.file) {
        findings
            .error(error::DUPLICATE_KEY, other.key_span, "another of these files has `defaults` too")
            .fix("keep the defaults of a set of files in one of them");
    }
    let node = &first.node;
    if node.value == Value::Null || !decode::is_block(node, first.key_span, "`defaults`", findings) {
        return Defaults::default();
    }
    Shape::of::<DefaultsBlock>().check(node, first.key_span, "`defaults`", findings);
    let defaults = Defaults {
        timezone: node.entry("timezone"),
        retries: node.entry("retries"),
        limits: node.entry("limits"),
        telemetry: node.entry("telemetry"),
        schema: node.entry("schema"),
    };
    check(&defaults, findings);
    defaults
}

/// Errors in defaults are errors even if no pipeline uses them.
fn check(defaults: &Defaults<'_>, findings: &mut Findings) {
    if let Some(zone) = defaults.timezone {
        rules::check_timezone(&zone.node, findings);
    }
    if let Some(retries) = defaults.retries {
        decode::block::<Retries>(&retries.node, retries.key_span, "`retries`", findings);
    }
    if let Some(telemetry) = defaults.telemetry {
        decode::block::<Telemetry>(&telemetry.node, telemetry.key_span, "`telemetry`", findings);
    }
    if let Some(schema) = defaults.schema {
        decode::block::<SchemaPolicy>(&schema.node, schema.key_span, "`schema`", findings);
    }
    if let Some(limits) = defaults.limits {
        decode::block::<Limits>(&limits.node, limits.key_span, "`limits`", findings);
    }
}
