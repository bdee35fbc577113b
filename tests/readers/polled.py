"""Reads a dataset again and again, as fast as it can, and tells what it saw: generations, in the order they came. Nothing of windrow is used.

A generation is the rows with the ids 0 to ROWS - 1, each once, and no row of another one. A Delta table is read by delta-rs and by DuckDB
in turns. A folder of Parquet is read by its log of commits: a file stands at its path, or where it was staged until it is there.

Called as `polled.py FORMAT PLACE ROWS,ROWS,..`. Each line `seen` on standard input is answered by one of JSON, after one more look.
"""

import itertools
import json
import os
import sys
import threading
import time

import duckdb
from deltalake import DeltaTable

FORMAT, PLACE = sys.argv[1:3]
ROWS = [int(rows) for rows in sys.argv[3].split(",")]
LOG = os.path.join(PLACE, "_windrow", "log")
NAMED = 5
# A file that goes between the look at the log and its own is named by no later commit. So often it may happen to one look.
TRIES, PAUSE = 200, 0.005
COUNT = "select generation, count(*), count(distinct id), min(id), max(id) from {} group by 1"


def by_delta_rs(duck):
    rows = DeltaTable(PLACE).to_pyarrow_table(columns=["id", "generation"])
    return duck.execute(COUNT.format("rows")).fetchall()


def by_duckdb(duck):
    return of_files(duck, DeltaTable(PLACE).file_uris())


def of_files(duck, files):
    return duck.execute(COUNT.format("read_parquet($files)"), {"files": files}).fetchall() if files else []


def by_log(duck):
    for _ in range(TRIES):
        seq, files = live()
        there = [next(filter(os.path.exists, places), None) for places in files]
        if None not in there:
            try:
                return of_files(duck, there)
            except duckdb.IOException:
                pass
        time.sleep(PAUSE)
    raise AssertionError(f"files that commit {seq} has are nowhere")


def live():
    """The newest commit, and of each of its files the places it may stand at."""
    seq, files = 0, {}
    for name in sorted(name for name in os.listdir(LOG) if name.removesuffix(".json").isdigit()):
        with open(os.path.join(LOG, name)) as text:
            entry = json.load(text)
        seq = entry["seq"]
        for path in entry["remove"]:
            files.pop(path, None)
        files |= {file["path"]: file["staged"] for file in entry["add"]}
    return seq, [[os.path.join(PLACE, place) for place in places] for places in files.items()]


def generation(groups):
    """Which one it is, or what is wrong."""
    if len(groups) != 1:
        return f"rows of {len(groups)} generations: {groups}"
    number, rows, different, first, last = groups[0]
    wanted = ROWS[number]
    whole = (rows, different, first, last) == (wanted, wanted, 0, wanted - 1)
    return number if whole else f"generation {number} has {rows} rows, {different} ids from {first} to {last}, of {wanted}"


class Seen:
    def __init__(self):
        self.looks = 0
        self.order = []
        self.faults = []

    def poll(self):
        duck = duckdb.connect(config={"threads": 1})
        ways = [by_log] if FORMAT == "parquet" else [by_delta_rs, by_duckdb]
        for way in itertools.cycle(ways):
            try:
                found = generation(way(duck))
            except Exception as cause:
                found = f"{way.__name__}: {cause}"
            if isinstance(found, str):
                self.faults = [*self.faults, found][:NAMED]
            elif self.order[-1:] != [found]:
                self.order.append(found)
            self.looks += 1

    def tell(self):
        # What is under way may have begun long ago.
        looks = self.looks
        while self.looks < looks + 2:
            time.sleep(PAUSE)
        return {"looks": self.looks, "order": self.order, "faults": self.faults}


seen = Seen()
threading.Thread(target=seen.poll, daemon=True).start()
for _ in sys.stdin:
    print(json.dumps(seen.tell()), flush=True)
