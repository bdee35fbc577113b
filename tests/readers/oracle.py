"""Reads a table or a folder of files back and compares it with what the synthetic source must have made.

Nothing of windrow is used: the rows are made again here by the source's published definition, and read by deltalake and
DuckDB. Prints one JSON object. Called as `oracle.py delta|parquet|json|postgres FOLDER SEED ROWS_PER_SECOND START END WINDOW`, with
seconds since 1970 and the window's length in seconds.
"""

import glob
import json
import os
import sys
from collections import Counter

import duckdb

MASK = (1 << 64) - 1


def mix(value):
    """The finaliser of SplitMix64."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def expected(seed, per_second, start, end):
    """Every row as (id, microsecond, hash), once."""
    base = mix(seed)
    for row in range(start * per_second, end * per_second):
        position = mix((base + row) & MASK)
        digest = f"{mix(position):016x}{mix((position + 1) & MASK):016x}"
        yield (row, row * 1_000_000 // per_second, digest)


def found_in_delta(folder):
    from deltalake import DeltaTable

    table = DeltaTable(folder)
    rows = table.to_pyarrow_table(columns=["id", "ts", "hash"])  # noqa: F841, DuckDB sees it by its name
    live = [os.path.relpath(uri.removeprefix("file://"), folder) for uri in table.file_uris()]
    return duckdb.sql("select id, epoch_us(ts), hash from rows").fetchall(), live


def found_in_files(folder, extension):
    live = [
        os.path.relpath(path, folder)
        for path in glob.glob(f"{folder}/**/part-*.{extension}*", recursive=True)
        if "/_" not in path.removeprefix(folder)
    ]
    paths = [os.path.join(folder, path) for path in live]
    if not paths:
        return [], live
    if extension == "parquet":
        rows = duckdb.sql("select id, epoch_us(ts), hash from read_parquet($paths)", params={"paths": paths})
    else:
        columns = {"id": "BIGINT", "ts": "VARCHAR", "hash": "VARCHAR"}
        rows = duckdb.read_json(paths, columns=columns, format="newline_delimited").query(
            "raw", "select id, epoch_us(ts::TIMESTAMP), hash from raw"
        )
    return rows.fetchall(), live


def found_in_dump(folder):
    """What psql wrote: a line a row, fields between bars."""
    with open(f"{folder}/rows") as lines:
        fields = (line.rstrip("\n").split("|") for line in lines)
        return [(int(row), int(at), digest) for row, at, digest in fields], []


def commits_of_dump(folder):
    with open(f"{folder}/commits") as lines:
        commits = [line.rstrip("\n").split("|") for line in lines if line.strip()]
    chained = all(later[2] == former[1] for former, later in zip(commits, commits[1:]))
    return [int(commit[0]) for commit in commits], chained, []


def commits_of_delta(folder):
    """The numbers of our commits in the order of the table's log."""
    seqs = []
    for path in sorted(glob.glob(f"{folder}/_delta_log/*.json")):
        with open(path) as lines:
            for line in lines:
                txn = json.loads(line).get("txn")
                if txn and not txn["appId"].endswith("/digest"):
                    seqs.append(txn["version"])
    return seqs, True, []


def commits_of_files(folder):
    """The same of a folder's log; whether each names the digest before it; what of the newest is still staged."""
    entries = []
    for path in sorted(glob.glob(f"{folder}/_windrow/log/*.json")):
        name = os.path.basename(path)
        if name.count(".") == 1 and name[0].isdigit():
            with open(path) as text:
                entries.append(json.load(text))
    chained = all(later["previous"] == former["digest"] for former, later in zip(entries, entries[1:]))
    staged = [file["staged"] for file in entries[-1]["add"]] if entries else []
    return [entry["seq"] for entry in entries], chained, staged


def main():
    kind, folder = sys.argv[1:3]
    seed, per_second, start, end, window = map(int, sys.argv[3:8])
    if kind == "delta":
        rows, live = found_in_delta(folder)
        seqs, chained, staged = commits_of_delta(folder)
    elif kind == "postgres":
        rows, live = found_in_dump(folder)
        seqs, chained, staged = commits_of_dump(folder)
    else:
        rows, live = found_in_files(folder, kind)
        seqs, chained, staged = commits_of_files(folder)
    found = Counter((row, at // (window * 1_000_000), at, digest) for row, at, digest in rows)
    wanted = Counter(
        (row, at // (window * 1_000_000), at, digest) for row, at, digest in expected(seed, per_second, start, end)
    )
    missing, surplus = wanted - found, found - wanted
    doubled = sum(count for row, count in surplus.items() if row in wanted)
    print(
        json.dumps(
            {
                "rows": sum(found.values()),
                "lost": sum(missing.values()),
                "doubled": doubled,
                "foreign": sum(surplus.values()) - doubled,
                "seqs": seqs,
                "chained": chained,
                "live": sorted(live + staged),
                "windows_lost": sorted({row[1] * window for row in missing})[:10],
            }
        )
    )


main()
