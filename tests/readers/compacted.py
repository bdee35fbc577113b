# What two readers that are not ours find in a Delta table of `compacting.rs`: pyarrow, told by deltalake which files there are,
# and DuckDB's own reader of Parquet. One line of JSON for each version that is asked for, `-` for the newest.
import json, sys, duckdb
from deltalake import DeltaTable

place, query = sys.argv[1:3]
# The history of an older version is numbered from the newest commit on.
operations = {commit["version"]: commit["operation"] for commit in DeltaTable(place).history()}
for version in sys.argv[3:]:
    table = DeltaTable(place, version=None if version == "-" else int(version))
    by_arrow = table.to_pyarrow_table()
    files = [uri.removeprefix("file://") for uri in table.file_uris()]
    by_duckdb = duckdb.sql(f"select * from read_parquet({files}, hive_partitioning = true, union_by_name = true)")
    found = [duckdb.sql(query.format(name)).fetchall()[0] for name in ("by_arrow", "by_duckdb")]
    print(json.dumps({
        "version": table.version(),
        "operation": operations.get(table.version(), ""),
        "files": len(files),
        "rows": found[0][0],
        "digests": [str(digest) for _, digest in found],
    }))
