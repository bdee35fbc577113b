"""Another writer of a table that windrow writes: appends batches of its own and deletes rows of anybody's, and says in each
commit what it did, for `watcher.py` to judge. Called as `outsider.py TABLE SEED`. Lines on standard input, each answered
by one of JSON:

    write                          an append or a delete, as chance has it
    betray double|resurrect|lose   one row is doubled, brought back or taken away, and nobody is told
"""

import json
import random
import sys

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

PLACE, CHANCE = sys.argv[1], random.Random(int(sys.argv[2]))
SCHEMA = pa.schema([("w", pa.int64()), ("rev", pa.int64()), ("id", pa.int64()), ("at", pa.timestamp("us", "UTC")),
                    ("name", pa.string())])
batches = 0
gone = None


def saying(**told):
    return CommitProperties(custom_metadata={"outside": json.dumps(told)})


def append():
    global batches
    batch, batches = batches, batches + 1
    rows = range(5 + batch % 4)
    window = -1 - batch
    data = [[window] * len(rows), [0] * len(rows), list(rows), [batch * 1_000_000 + row for row in rows],
            [f"{window}/0/{row}" for row in rows]]
    arrays = [pa.array(column, field.type) for column, field in zip(data, SCHEMA)]
    write_deltalake(PLACE, pa.table(arrays, schema=SCHEMA), mode="append", commit_properties=saying(op="append", w=window))


def delete():
    global gone
    table = DeltaTable(PLACE)
    rows = table.to_pyarrow_table(columns=SCHEMA.names)
    window, rest = CHANCE.choice(rows.column("w").unique().to_pylist()), CHANCE.randrange(5)
    hit = [row["w"] == window and row["id"] % 5 == rest for row in rows.select(["w", "id"]).to_pylist()]
    table.delete(f"w = {window} and id % 5 = {rest}",
                 commit_properties=saying(op="delete", w=window, rest=rest, read=table.version()))
    if any(hit) and window < 0:
        gone = rows.filter(pa.array(hit)).slice(0, 1)


def write():
    what = append if CHANCE.random() < 0.6 else delete
    try:
        what()
    except CommitFailedError as conflict:
        return {"refused": str(conflict)}
    return {"did": what.__name__}


def betray(how):
    while how == "resurrect" and gone is None:
        write()
    rows = DeltaTable(PLACE).to_pyarrow_table(columns=SCHEMA.names)
    if how == "lose":
        lose(rows.column("name")[0].as_py())
    else:
        row = gone if how == "resurrect" else rows.slice(0, 1)
        write_deltalake(PLACE, row.cast(SCHEMA), mode="append")
    return {}


def lose(name):
    """Whoever rewrites the row's file meanwhile may be faster."""
    while True:
        try:
            return DeltaTable(PLACE).delete(f"name = '{name}'")
        except CommitFailedError:
            pass


for line in sys.stdin:
    what, *words = line.split()
    print(json.dumps({"write": write, "betray": betray}[what](*words)), flush=True)
