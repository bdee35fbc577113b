"""Watches a folder of Parquet that windrow loads, rewrites and cleans, by its list of files, and says which row is wrong.

Every row carries its window, that window's revision and a number, and all else follows from these. At every look each window that was
ever there has to be there whole, at one revision, and at none that is older than the one before. Before the first list the log of commits says
what to read. Whoever has begun with a list may miss a file that the next one does without, and has to look again. Nothing of windrow is
used: pyarrow and DuckDB take turns.

Called as `lister.py FOLDER START EVERY`, with the microsecond at which window 0 starts and a window's length. Lines on standard input,
each answered by one of JSON:

    look                        checks what is to be read now
    end                         what the log says of commits and files
    betray double|lose|resurrect    a list is written that shows a file twice, or one not at all, or one of a window's former rows
"""

import itertools
import json
import os
import sys
import time
from collections import Counter

import duckdb
import pyarrow.parquet as pq

PLACE, START, EVERY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
COLUMNS = ["w", "rev", "id", "at", "name"]
NAMED = 5
TRIES, PAUSE = 200, 0.005


def row(window, revision, number):
    at = START + window * EVERY + number * EVERY // 32
    return window, revision, number, at, f"{window}/{revision}/{number}"


def whole(window, revision):
    return Counter(row(window, revision, number) for number in range(15 + (7 * window + 3 * revision) % 10))


def by_duckdb(files):
    query = 'select w, rev, id, epoch_us("at"), name from read_parquet($files)'
    return duckdb.execute(query, {"files": files}).fetchall() if files else []


def by_pyarrow(files):
    rows = []
    for file in files:
        with open(file, "rb") as opened:
            columns = pq.ParquetFile(opened).read(columns=COLUMNS).to_pydict()
        columns["at"] = [round(at.timestamp() * 1_000_000) for at in columns["at"]]
        rows += zip(*(columns[name] for name in COLUMNS))
    return rows


READERS = itertools.cycle([by_duckdb, by_pyarrow])


def names(folder, ending):
    folder = os.path.join(PLACE, "_windrow", folder)
    numbers = [name for name in os.listdir(folder) if name.removesuffix(ending).isdigit()] if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in sorted(numbers)]


def load(path):
    with open(path) as text:
        return json.load(text)


def log():
    return list(map(load, names("log", ".json")))


def to_read():
    """The newest commit readers are told of, and of each file the places it may stand at."""
    lists = names("files", ".list")
    if lists:
        told = load(lists[-1])
        return told["seq"], [[file["path"]] for file in told["files"]]
    seq, files = 0, {}
    for entry in log():
        seq = entry["seq"]
        gone = {*entry["remove"], *(file["path"] for file in entry.get("retire", []))}
        files = {path: places for path, places in files.items() if path not in gone}
        files |= {file["path"]: [file["path"], file["staged"]] for file in entry["add"]}
    return seq, list(files.values())


class Lister:
    def __init__(self):
        self.seq = 0
        self.revisions = {}
        self.faults = []
        self.count = Counter()
        self.honest = None

    def look(self):
        for _ in range(TRIES):
            try:
                seq, files = to_read()
                there = [next(filter(os.path.exists, [os.path.join(PLACE, place) for place in places]), None) for places in files]
                rows = None if None in there else next(READERS)(there)
            except (OSError, duckdb.IOException):
                rows = None
            if rows is not None:
                self.check(seq, rows)
                break
            self.count["looked again"] += 1
            time.sleep(PAUSE)
        else:
            self.fault(seq, "lost", "files it has are gone", 1)
        self.count["looks"] += 1
        return self.said(version=self.seq, newest=self.seq, revisions=self.revisions)

    def check(self, seq, rows):
        if seq < self.seq:
            self.fault(seq, "resurrected", f"the commit after {self.seq}", 1)
        windows = {}
        for found in rows:
            windows.setdefault(found[0], Counter())[found] += 1
        for window in sorted(windows.keys() | self.revisions.keys()):
            self.check_window(seq, window, windows.get(window, Counter()))
        self.seq = seq

    def check_window(self, seq, window, there):
        known = self.revisions.get(window, 0)
        newest = max((found[1] for found in there), default=known)
        wanted = whole(window, max(newest, known))
        for found, count in (there - wanted).items():
            was = 0 < found[1] < max(newest, known) and found in whole(window, found[1])
            self.fault(seq, "doubled" if found in wanted else "resurrected" if was else "foreign", found[:3], count)
        for found, count in (wanted - there).items():
            self.fault(seq, "lost", found[:3], count)
        self.revisions[window] = max(newest, known)

    def fault(self, seq, what, where, count):
        self.count[what] += count
        self.faults.append(f"commit {seq}: {what}: {where}")

    def end(self):
        entries, lists = log(), names("files", ".list")
        told = load(lists[-1])
        effects = Counter("rewrites" if "retire" in entry else "loads" for entry in entries if entry["effect"] == "applied")
        chained = all(later["previous"] == former["digest"] for former, later in zip(entries, entries[1:]))
        files = [file["path"] for file in told["files"]]
        shown = {file["path"] for entry in entries for file in entry["add"]}
        replaced = {path for entry in entries for path in entry["remove"]}
        cleaned = [path for path in shown - replaced - set(files) if not os.path.exists(os.path.join(PLACE, path))]
        live = {*files, *told["instead_of"], *(file["staged"] for file in entries[-1]["add"])}
        return self.said(seqs=[entry["seq"] for entry in entries], chained=chained, effects=effects, files=len(files),
                         rows=sum(file["rows"] for file in told["files"]), cleaned=len(cleaned), live=sorted(live), lists=len(lists))

    def betray(self, how):
        newest = names("files", ".list")[-1]
        self.honest = self.honest or load(newest)
        told = {**self.honest, "files": list(self.honest["files"]), "seq": load(newest)["seq"] + 1}
        if how == "double":
            told["files"].append(told["files"][0])
        elif how == "lose":
            told["files"].pop()
        else:
            told["files"].append(self.former(told["files"][0]))
        with open(os.path.join(os.path.dirname(newest), f"{told['seq']:020}.list"), "w") as text:
            json.dump(told, text)
        return {}

    def former(self, file):
        """A file with a row that a window had in a former revision."""
        window = next(window for window, revision in self.revisions.items() if revision > 1)
        table = pq.read_table(os.path.join(PLACE, file["path"]))
        values = dict(zip(COLUMNS, row(window, 1, 0)))
        rows = type(table).from_pydict({name: [values[name]] for name in COLUMNS}, schema=table.schema)
        path = "_windrow/aside/former"
        pq.write_table(rows, os.path.join(PLACE, path))
        return {**file, "path": path}

    def said(self, **more):
        return more | {"faults": self.faults[:NAMED], "count": self.count}


lister = Lister()
for line in sys.stdin:
    what, *words = line.split()
    print(json.dumps(getattr(lister, what)(*words)), flush=True)
