# How much of a Delta table of `clustering.rs` others read for a value: deltalake prunes files by the log's statistics, and DuckDB counts in
# all of them what was to be found. `place columns rows...`: for each of `columns` so many values are looked for, spread over all there are.
import json, sys, duckdb
import pyarrow.compute as pc
from deltalake import DeltaTable

place, columns, values = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3])
table = DeltaTable(place)
dataset = table.to_pyarrow_dataset()
files = [uri.removeprefix("file://") for uri in table.file_uris()]
everything = duckdb.sql(f"select * from read_parquet({files}, union_by_name = true)")
touched = {}
for column in columns:
    distinct = [row[0] for row in duckdb.sql(f'select distinct "{column}" from everything where "{column}" is not null order by 1').fetchall()]
    looked_for = distinct[:: max(1, len(distinct) // values)]
    shares = []
    for value in looked_for:
        wanted = pc.field(column) == value
        fragments = list(dataset.get_fragments(wanted))
        found = sum(fragment.count_rows(filter=wanted) for fragment in fragments)
        expected = duckdb.execute(f'select count(*) from everything where "{column}" = ?', [value]).fetchall()[0][0]
        assert found == expected, (column, value, found, expected)
        shares.append(len(fragments) / len(files))
    touched[column] = sum(shares) / len(shares)
columns = ", ".join(f'"{name}"' for name in sorted(everything.columns))
rows, digest = duckdb.sql(f"select count(*), sum(hash({columns})::hugeint) from everything").fetchall()[0]
operation = table.history(1)[0]["operation"]
print(json.dumps({
    "version": table.version(), "operation": operation, "files": len(files), "rows": rows, "digest": str(digest),
    "touched": touched,
}))
