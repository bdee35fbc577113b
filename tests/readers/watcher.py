"""Watches a Delta table that windrow and others write at once, version by version, and says which row is wrong.

Every row carries its window, that window's revision and a number, and all else follows from these. So what a version may hold
follows from the version before it and from what its commit says it does: a rewrite changes no row; a commit of windrow's
puts windows at newer revisions, each of them whole; another writer's does what stands in its commit. Nothing of windrow is
used: three readers take turns, pyarrow behind deltalake, DuckDB and Polars, and pinned versions are read by all of them.

Called as `watcher.py TABLE START EVERY`, with the microsecond at which window 0 starts and a window's length. Lines on
standard input, each answered by one of JSON:

    look N           checks at most N more versions
    pinned V V ..    reads these versions whole, as they were when they were checked
    end              checks the newest version by all readers; what the log says of commits and files
"""

import json
import os
import sys
from collections import Counter

import duckdb
import polars as pl
from deltalake import DeltaTable

PLACE, START, EVERY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
LOG = os.path.join(PLACE, "_delta_log")
NAMED = 5


def row(window, revision, number):
    """What a row of windrow's, or of another writer's batch -1 - window, has to be."""
    at = START + window * EVERY + number * EVERY // 32 if window >= 0 else (-1 - window) * 1_000_000 + number
    return window, revision, number, at, f"{window}/{revision}/{number}"


def numbers(window, revision):
    return range(15 + (7 * window + 3 * revision) % 10 if window >= 0 else 5 + (-1 - window) % 4)


def by_pyarrow(table):
    columns = table.to_pyarrow_table(columns=["w", "rev", "id", "at", "name"]).to_pydict()
    columns["at"] = [round(at.timestamp() * 1_000_000) for at in columns["at"]]
    return list(zip(*columns.values()))


def by_duckdb(table):
    files = table.file_uris()
    query = 'select w, rev, id, epoch_us("at"), name from read_parquet($files, union_by_name = true)'
    return duckdb.execute(query, {"files": files}).fetchall() if files else []


def by_polars(table):
    if not table.file_uris():
        return []
    return pl.scan_delta(table).select("w", "rev", "id", pl.col("at").dt.epoch("us"), "name").collect().rows()


READERS = [by_pyarrow, by_duckdb, by_polars]


def grouped(rows):
    """Rows by window, each with how often it is there."""
    windows = {}
    for found in rows:
        windows.setdefault(found[0], Counter())[found] += 1
    return windows


def digest(rows):
    """Of a version's rows, whatever their order; for this process alone."""
    return len(rows), sum(map(hash, rows)) % (1 << 64)


class Watcher:
    def __init__(self):
        self.checked = 0
        self.rows = {}  # by window, with how often
        self.revisions = {}
        self.since = {}  # the version at which a window came to its revision
        self.digests = {}
        self.seqs = []
        self.paths = set()
        self.faults = []
        self.count = Counter()
        self.most_files = 0

    def newest(self):
        versions = [int(name[:20]) for name in os.listdir(LOG) if name.endswith(".json") and name[:20].isdigit()]
        return max(versions, default=0)

    def look(self, most):
        newest = self.newest() if os.path.isdir(LOG) else 0
        for version in range(self.checked + 1, min(newest, self.checked + most) + 1):
            table = DeltaTable(PLACE, version=version)
            rows = READERS[version % len(READERS)](table)
            self.step(version, self.read(version), grouped(rows))
            self.digests[version] = digest(rows)
            self.most_files = max(self.most_files, len(table.file_uris()))
            self.checked = version
        revisions = {window: revision for window, revision in self.revisions.items() if window >= 0}
        return self.said(version=self.checked, newest=newest, revisions=revisions)

    def read(self, version):
        """What the commit says it is, and of which files and commits it tells."""
        info = {}
        with open(os.path.join(LOG, f"{version:020}.json")) as lines:
            for action in map(json.loads, lines):
                info |= action.get("commitInfo", {})
                txn = action.get("txn")
                if txn and not txn["appId"].endswith("/digest"):
                    self.seqs.append(txn["version"])
                if "add" in action:
                    self.paths.add(action["add"]["path"])
        return info

    def step(self, version, info, found):
        told = json.loads(info["outside"]) if "outside" in info else None
        kind = f"{told['op']}s by others" if told else "rewrites" if info["operation"] == "OPTIMIZE" else "loads"
        self.count[kind] += 1
        if told:
            self.apply(version, told)
        for window in sorted(found.keys() | self.rows.keys()):
            wanted, there = self.rows.get(window, Counter()), found.get(window, Counter())
            if wanted == there or kind == "loads" and self.takes(version, window, there):
                continue
            self.blame(version, kind, wanted, there)
            self.rows[window] = there

    def apply(self, version, told):
        window = told["w"]
        if told["op"] == "append":
            self.rows[window] = Counter(row(window, 0, number) for number in numbers(window, 0))
            self.revisions[window], self.since[window] = 0, version
        # What came after the version it read was not deleted, and nobody said it would be.
        elif self.since.get(window, version) <= told["read"]:
            stays = lambda found: found[2] % 5 != told["rest"]
            self.rows[window] = Counter({found: n for found, n in self.rows[window].items() if stays(found)})

    def takes(self, version, window, there):
        """Whether a window came whole to a newer revision."""
        revisions = {found[1] for found in there}
        if window < 0 or len(revisions) != 1 or not revisions.isdisjoint(range(self.revisions.get(window, 0) + 1)):
            return False
        (revision,) = revisions
        if there != Counter(row(window, revision, number) for number in numbers(window, revision)):
            return False
        self.rows[window], self.revisions[window], self.since[window] = there, revision, version
        return True

    def blame(self, version, kind, wanted, there):
        for found, count in (there - wanted).items():
            window, revision, number = found[:3]
            known = window in self.revisions and found == row(window, revision, number) and number in numbers(window, revision)
            was = known and revision <= self.revisions[window]
            self.fault(version, kind, "doubled" if found in wanted else "resurrected" if was else "foreign", found, count)
        for found, count in (wanted - there).items():
            self.fault(version, kind, "lost", found, count)

    def fault(self, version, kind, what, found, count):
        self.count[what] += count
        self.faults.append(f"version {version} ({kind}): {what}: window {found[0]}, revision {found[1]}, row {found[2]}")

    def pinned(self, versions):
        for version in versions:
            for reader in READERS:
                try:
                    same = digest(reader(DeltaTable(PLACE, version=version))) == self.digests[version]
                    fault = None if same else "not what it was"
                except Exception as cause:
                    fault = f"not whole any more: {cause}"
                if fault:
                    self.count["unpinned"] += 1
                    self.faults.append(f"version {version} is pinned and {fault} ({reader.__name__})")
        return self.said(pinned=len(versions))

    def end(self):
        table = DeltaTable(PLACE)
        wanted = self.digests[self.checked]
        agree = table.version() == self.checked and all(digest(reader(table)) == wanted for reader in READERS)
        live = [os.path.relpath(uri.removeprefix("file://"), PLACE) for uri in table.file_uris()]
        return self.said(agree=agree, seqs=self.seqs, paths=sorted(self.paths), live=live, rows=wanted[0],
                         most_files=self.most_files)

    def said(self, **more):
        return more | {"faults": self.faults[:NAMED], "count": self.count}


def main():
    watcher = Watcher()
    for line in sys.stdin:
        what, *words = line.split()
        answer = getattr(watcher, what)(*([list(map(int, words))] if what == "pinned" else map(int, words)))
        print(json.dumps(answer), flush=True)


main()
