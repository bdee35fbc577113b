# What is found in `t`, a table of flights: the same figures whoever read it.
one = lambda sql: duckdb.sql(sql).fetchall()[0][0]
print(json.dumps({
    "rows": one("select count(*) from t"),
    "distance": int(one("select coalesce(sum(distance), 0) from t")),
    "hours": one("select count(distinct time_hour) from t"),
    "null_departures": one("select count(*) from t where dep_time is null"),
    "distinct_rows": one("select count(*) from (select distinct * from t)"),
    "digest": str(one("select sum(hash(t)::hugeint) from t")),
    "files": files,
    "protocol": protocol,
}))
