"""Peers that make few files of a Delta table's many, told line by line what to do; a process each, so that what one of them has in
memory is its own. They are measured by their own clock, so that imports count for none of them.

    make PLACE FILES ROWS    a table of so many files of so many rows, the same every time
    read PLACE DELTA         what is in a table (1) or in a folder of files (0): rows, a digest of them, files and bytes
    query PLACE              how long it takes to open a table and to ask it something
    versions
    WAY PLACE TARGET         rewrites a table's files into files of about so many bytes of input each, with zstd 1

Called with the libraries it needs.
"""

import glob
import importlib
import importlib.metadata as metadata
import json
import os
import sys
import time

os.environ["RUST_LOG"] = "error"
for library in sys.argv[1:]:
    globals()[library] = importlib.import_module(library)
if "duckdb" in sys.argv[1:]:
    # Its bar would stand among the answers.
    duckdb.execute("set enable_progress_bar = false")

COLUMNS = """i as id, to_timestamp(1704067200 + i) as "at", 'device ' || hash(i) % 5000 as device,
    ['new', 'open', 'paid', 'packed', 'sent', 'back', 'lost', 'closed'][(hash(i + 1) % 8)::int + 1] as kind,
    (hash(i + 2) % 1000000)::int as quantity, (hash(i + 3) % 10000000)::double / 7 as ratio,
    hash(i + 4)::double / 1e19 as level, md5(i::varchar) as name,
    case when hash(i + 5) % 10 > 0 then 'note ' || hash(i + 6) % 1000000 end as note, hash(i + 7) % 3 = 0 as ok,
    (date '2024-01-01' + (i // 86400)::int)::date as day, (hash(i + 8) % 1000000000)::bigint as code"""
NAMES = "id, epoch_us(\"at\"), device, kind, quantity, ratio, level, name, note, ok, day, code"


def make(place, files, rows):
    files, rows = int(files), int(rows)
    os.makedirs(place)
    for n in range(files):
        path = os.path.join(place, f"part-{n:05}.parquet")
        duckdb.execute(f"copy (select {COLUMNS} from range({n * rows}, {(n + 1) * rows}) t(i)) to '{path}' (compression snappy)")
    deltalake.convert_to_deltalake(place)
    return {}


def files_of(place):
    return sorted(uri.removeprefix("file://") for uri in deltalake.DeltaTable(place).file_uris())


def read(place, delta):
    files = files_of(place) if int(delta) else sorted(glob.glob(place + "/*.parquet"))
    query = f"select count(*), sum(code), sum(hash({NAMES})::hugeint) from read_parquet($files)"
    rows, code, digest = duckdb.execute(query, {"files": files}).fetchall()[0]
    size = sum(map(os.path.getsize, files))
    return {"content": [rows, int(code), str(digest)], "files": len(files), "bytes": size}


def query(place):
    began = time.perf_counter()
    files = deltalake.DeltaTable(place).file_uris()
    opened = time.perf_counter()
    duckdb.execute("select count(*), sum(quantity) from read_parquet($files)", {"files": files}).fetchall()
    return {"open": opened - began, "ask": time.perf_counter() - opened}


def bins(files, target):
    """Files one after the other, until a bin has so many bytes."""
    bins, size = [], target
    for path in files:
        size += os.path.getsize(path)
        if size > target:
            bins.append([])
            size = os.path.getsize(path)
        bins[-1].append(path)
    return bins


def decode(place, target, out):
    """The limit: every value decoded, nothing kept."""
    for files in bins(files_of(place), target):
        polars.read_parquet(files)


def polars_sink(place, target, out):
    for n, files in enumerate(bins(files_of(place), target)):
        polars.scan_parquet(files).sink_parquet(f"{out}/{n}.parquet", compression="zstd", compression_level=1)


def duckdb_copy(place, target, out):
    for n, files in enumerate(bins(files_of(place), target)):
        duckdb.execute(f"copy (select * from read_parquet($files)) to '{out}/{n}.parquet' (compression zstd, compression_level 1)",
                       {"files": files})


def delta_optimize(place, target, out):
    properties = deltalake.WriterProperties(compression="ZSTD", compression_level=1)
    deltalake.DeltaTable(place).optimize.compact(target_size=target, writer_properties=properties)


def timed(way, place, target):
    out = place + "-out"
    os.makedirs(out)
    began = time.perf_counter()
    way(place, int(target), out)
    return {"seconds": time.perf_counter() - began, "place": place if way is delta_optimize else out}


WAYS = [decode, polars_sink, duckdb_copy, delta_optimize]
PARTS = {part.__name__: part for part in [make, read, query]} | {
    way.__name__: lambda place, target, way=way: timed(way, place, target) for way in WAYS}

for line in sys.stdin:
    what, *words = line.split()
    if what == "versions":
        answer = {name: metadata.version(name) for name in ["deltalake", "duckdb", "polars"]}
    else:
        answer = PARTS[what](*words)
    print(json.dumps(answer), flush=True)
