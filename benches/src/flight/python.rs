//! The same rows by pyarrow: a server that discards them and a client that puts them, in two processes.

use std::{fs::File, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use arrow_ipc::writer::FileWriter;
use serde_json::json;
use tempfile::TempDir;
use windrow_tests::peer::{Peer, python};

use super::{Moved, data::Data};
use crate::{other::Other, usage};

/// Both sides.
pub(super) struct Pair {
    pub(super) version: String,
    server: Other,
    client: Peer,
    expected: serde_json::Value,
    _folder: TempDir,
}

impl Pair {
    pub(super) fn start(data: &Data) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut file = FileWriter::try_new(File::create(folder.path().join("rows.arrow"))?, &data.schema())?;
        data.batches().iter().try_for_each(|batch| file.write(batch))?;
        file.finish()?;
        let server = Other::start(Command::new(python()?).args(["-c", SERVER]))?;
        let mut client = Peer::start(CLIENT, folder.path())?;
        let times = data.rows() / data.batches().iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        let answer = client.ask(&format!("{} {times}", server.port))?;
        let version = answer["version"].as_str().unwrap_or("?").to_owned();
        Ok(Self { version, server, client, expected: json!([data.rows(), data.sum()]), _folder: folder })
    }

    /// Moves the rows once.
    pub(super) fn put(&mut self) -> Result<Moved> {
        let before = self.cpu()?;
        let answer = self.client.ask("put")?;
        let cpu = self.cpu()?.saturating_sub(before);
        ensure!(answer["found"] == self.expected, "{} arrived, not {}", answer["found"], self.expected);
        let wall = Duration::from_secs_f64(answer["seconds"].as_f64().context("no time")?);
        Ok(Moved { wall, cpu })
    }

    fn cpu(&self) -> Result<Duration> {
        Ok(usage::cpu(self.server.process())? + usage::cpu(self.client.process())?)
    }
}

const SERVER: &str = r#"
import json, pyarrow.compute as pc, pyarrow.flight as fl
class Discard(fl.FlightServerBase):
    def do_put(self, context, descriptor, reader, writer):
        rows = total = 0
        for chunk in reader:
            rows += chunk.data.num_rows
            total += pc.sum(chunk.data.column(0)).as_py()
        writer.write(json.dumps([rows, total]).encode())
server = Discard("grpc://127.0.0.1:0")
print(server.port, flush=True)
server.serve()
"#;

const CLIENT: &str = r#"
import json, sys, time
import pyarrow as pa, pyarrow.flight as fl
table = pa.ipc.open_file(pa.memory_map(sys.argv[1] + "/rows.arrow"))
batches = [table.get_batch(i) for i in range(table.num_record_batches)]
port, times = sys.stdin.readline().split()
client = fl.connect("grpc://127.0.0.1:" + port)
print(json.dumps({"version": pa.__version__}), flush=True)
for _ in sys.stdin:
    began = time.perf_counter()
    writer, answers = client.do_put(fl.FlightDescriptor.for_path("rows"), batches[0].schema)
    for _ in range(int(times)):
        for batch in batches:
            writer.write_batch(batch)
    writer.done_writing()
    found = json.loads(answers.read().to_pybytes())
    writer.close()
    print(json.dumps({"seconds": time.perf_counter() - began, "found": found}), flush=True)
"#;
