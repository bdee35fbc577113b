"""Peers that move a table of PostgreSQL, told line by line what to do. They read nothing but the table, and are
measured by their own clock, so that imports count for none of them.

    read KIND PATH       counts and sums of what somebody wrote, with its column types
    WAY                  one load of the whole table into a folder of its own
    WAY N                the same as N windows of `changed`
"""

import importlib.metadata as metadata
import json
import os
import shutil
import sys
import time

import adbc_driver_postgresql.dbapi as adbc
import connectorx
import duckdb
import duckdb_extension_postgres_scanner as scanner
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

URL, TABLE, ROWS = sys.argv[2], "public.loaded", int(sys.argv[3])
FIRST = 1704067200


def attached():
    """DuckDB with the database in it. The extension comes as a package, so nothing is fetched."""
    folder = os.path.join(os.path.dirname(scanner.__file__), "extensions", "v" + duckdb.__version__)
    duck = duckdb.connect()
    # It would be written where answers are.
    duck.execute("set enable_progress_bar = false")
    duck.execute("load '%s'" % os.path.join(folder, "postgres_scanner.duckdb_extension"))
    duck.execute("attach '%s' as shop (type postgres)" % URL)
    return duck


def rows_of_adbc(query="select * from " + TABLE):
    """Batches, with the one column that has no native type cast by the database, and what they come from."""
    query = query.replace("*", "id, quantity, ratio, price::float8 as price, name, kind, changed, active")
    connection = adbc.connect(URL)
    cursor = connection.cursor()
    cursor.execute(query)
    return (connection, cursor), cursor.fetch_record_batch()


def close(held):
    for thing in reversed(held):
        thing.close()


def between(lower, upper):
    stamp = "to_timestamp(%d)"
    return "changed >= %s and changed < %s" % (stamp % lower, stamp % upper)


def bounds(count):
    step = ROWS // count
    return [(FIRST + n * step, FIRST + (n + 1) * step) for n in range(count)]


def duckdb_parquet(place):
    attached().execute("copy (select * from shop.%s) to '%s/rows.parquet' (format parquet)" % (TABLE, place))


def adbc_parquet(place):
    held, reader = rows_of_adbc()
    with pq.ParquetWriter(place + "/rows.parquet", reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    close(held)


def adbc_delta(place):
    held, reader = rows_of_adbc()
    write_deltalake(place, reader)
    close(held)


def connectorx_parquet(place):
    table = connectorx.read_sql(URL, "select * from " + TABLE, return_type="arrow")
    pq.write_table(table, place + "/rows.parquet")


def connectorx_delta(place):
    write_deltalake(place, connectorx.read_sql(URL, "select * from " + TABLE, return_type="arrow"))


def dlt_into(place, **how):
    import dlt
    from dlt.sources.sql_database import sql_table

    os.environ["RUNTIME__DLTHUB_TELEMETRY"], os.environ["RUNTIME__LOG_LEVEL"] = "false", "ERROR"
    name = "peer" + str(time.time_ns())
    pipeline = dlt.pipeline(
        name, destination=dlt.destinations.filesystem("file://" + place), dataset_name="d", pipelines_dir=place + "/work"
    )
    table = sql_table(URL.replace("postgres://", "postgresql+psycopg2://"), table="loaded", backend="connectorx",
                      backend_kwargs={"conn": URL}, reflection_level="full")
    pipeline.run(table, **how).raise_on_failed_jobs()
    return place + "/d/loaded"


def dlt_parquet(place):
    return dlt_into(place, loader_file_format="parquet")


def dlt_delta(place):
    return dlt_into(place, table_format="delta")


def windows_duckdb(place, count):
    duck = attached()
    for n, (lower, upper) in enumerate(bounds(count)):
        query = "select * from shop.%s where %s" % (TABLE, between(lower, upper))
        duck.execute("copy (%s) to '%s/%d.parquet' (format parquet)" % (query, place, n))


def windows_delta(place, count):
    table = None
    for lower, upper in bounds(count):
        held, reader = rows_of_adbc("select * from %s where %s" % (TABLE, between(lower, upper)))
        write_deltalake(table or place, reader, mode="append")
        table = table or DeltaTable(place)
        close(held)


def windows_copy(_, count):
    """The limit: as many binary COPYs on one connection, thrown away."""
    import psycopg2

    connection = psycopg2.connect(URL)
    with open(os.devnull, "wb") as nowhere, connection.cursor() as cursor:
        for lower, upper in bounds(count):
            query = "select * from %s where %s" % (TABLE, between(lower, upper))
            cursor.copy_expert("copy (%s) to stdout (format binary)" % query, nowhere)
    connection.close()


def read(kind, place):
    found = DeltaTable(place).to_pyarrow_dataset() if kind == "delta" else ds.dataset(
        place, format="parquet", exclude_invalid_files=False)
    sums = {"rows": 0, "id": 0, "quantity": 0, "cents": 0, "text": 0, "active": 0, "seconds": 0}
    for batch in found.to_batches(columns=["id", "quantity", "price", "name", "kind", "active", "changed"]):
        if not len(batch):
            continue
        sums["rows"] += len(batch)
        for name in ("id", "quantity"):
            sums[name] += pc.sum(batch.column(name).cast(pa.int64())).as_py() or 0
        price = batch.column("price")
        sums["cents"] += int(pc.sum(pc.round(pc.multiply(price.cast(pa.float64()), 100.0))).as_py())
        sums["text"] += pc.sum(pc.binary_length(batch.column("name"))).as_py()
        sums["text"] += pc.sum(pc.binary_length(batch.column("kind").cast(pa.string()))).as_py()
        sums["active"] += pc.sum(batch.column("active").cast(pa.int64())).as_py()
        changed = batch.column("changed").cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        sums["seconds"] += pc.sum(pc.divide(changed, 1000000)).as_py()
    sums["price"] = str(found.schema.field("price").type)
    return sums


VERSIONS = ["adbc-driver-postgresql", "connectorx", "deltalake", "dlt", "duckdb", "pyarrow"]

for line in sys.stdin:
    what, *words = line.split()
    if what == "versions":
        answer = {name: metadata.version(name) for name in VERSIONS}
    elif what == "read":
        answer = read(*words)
    else:
        place = os.path.join(sys.argv[1], what)
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)
        began = time.perf_counter()
        written = globals()[what](place, *map(int, words)) or place
        answer = {"seconds": time.perf_counter() - began, "place": written}
    print(json.dumps(answer), flush=True)
