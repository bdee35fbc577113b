# Reads a folder again and again while it is compacted, in two ways: by windrow's list of files and what lies beside it, and as whoever
# knows of no list does. Each time every row that was written before the look has to be there, and none twice. A number of commits
# may be made during a look: the list is read first. Ends when the file `stop` is there, after one more look.
#   folder.py FORMAT PLACE PROGRESS STOP [list | own]
# PLACE is a folder, or s3:bucket/folder; with `list` the second way is left out; `own` is a folder that windrow loads.
import json, os, sys, time
import duckdb, pyarrow as pa, pyarrow.csv as csv, pyarrow.dataset as ds, pyarrow.fs as pafs

format, place, progress, stop = sys.argv[1:5]
by_list_only, own = "list" in sys.argv[5:], "own" in sys.argv[5:]
endings = {"parquet": ".parquet", "csv": ".csv", "json": (".json", ".jsonl", ".ndjson")}[format]
local = not place.startswith("s3:")
if local:
    files = pafs.LocalFileSystem()
else:
    place = place.removeprefix("s3:")
    files = pafs.S3FileSystem(access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=os.environ["AWS_ENDPOINT_URL"], region=os.environ["AWS_REGION"])

def below(folder):
    infos = files.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
    return sorted(info.path for info in infos if info.is_file)

def rows(paths):
    if not paths:
        return []
    table = ds.dataset(paths, filesystem=files, format=format, schema=pa.schema([("id", pa.int64()), ("text", pa.string())])).to_table()
    return list(zip(table["id"].to_pylist(), table["text"].to_pylist()))

def hidden(path):
    return any(part[0] in "_." and "=" not in part for part in path.removeprefix(place + "/").split("/"))

def by_list():
    # What is still being written beside them has another name (`…list#1` on a disk).
    lists = [path for path in below(f"{place}/_windrow/files") if path.endswith(".list")]
    named = json.loads(files.open_input_stream(lists[-1]).read()) if lists else {"files": [], "instead_of": []}
    instead = set(named["instead_of"])
    listed = [f"{place}/{file['path']}" for file in named["files"]]
    if own and lists:
        return rows(listed), len(listed)
    beside = [path for path in below(place) if path.endswith(endings) and not hidden(path)
        and path.removeprefix(place + "/") not in instead and path not in listed]
    return rows(listed + beside), len(listed) + len(beside)

def by_arrow():
    """Leaves hidden folders out by itself."""
    return rows([path for path in ds.dataset(place, filesystem=files, format=format).files if path.endswith(endings)])

def by_duckdb():
    """Looks into every folder, hidden or not; staged files of windrow's own loads are no rows."""
    ending = "json" if format == "json" else format
    read = {"parquet": "read_parquet('{}')", "csv": "read_csv('{}')", "json": "read_json('{}', columns = {{id: 'BIGINT', text: 'VARCHAR'}})"}[format]
    return duckdb.sql("select id, text from " + read.format(f"{place}/*.{ending}" if own else f"{place}/**/*.{ending}")).fetchall()

def check(way, found, written):
    ids = sorted(id for id, _ in found)
    assert all(text == f"row {id}, \"quoted\"\nand broken" for id, text in found), f"{way}: a value changed"
    assert len(set(ids)) == len(ids), f"{way}: {len(ids) - len(set(ids))} rows are there twice"
    missing = set(range(written)) - set(ids)
    assert not missing, f"{way}: {len(missing)} of {written} rows are missing"

looks, last = 0, False
while True:
    last = os.path.exists(stop)
    written = int(open(progress).read())
    found, count = by_list()
    check("by the list", found, written)
    if not by_list_only:
        ways = [by_arrow] + ([by_duckdb] if local else [])
        for way in ways:
            written = int(open(progress).read())
            check(way.__name__, way(), written)
    looks += 1
    if last:
        print(json.dumps({"looks": looks, "rows": len(found), "files": count}))
        break
