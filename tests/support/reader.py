"""Reads Parquet files below a folder or an S3 prefix with DuckDB or pyarrow, runs a query on them, prints JSON."""

import json
import sys

import duckdb
import pyarrow.dataset
import pyarrow.fs

kind, root, sql, endpoint = sys.argv[1:5]
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
if kind == "file":
    from pathlib import Path

    if any(Path(root).rglob("*.parquet")):
        connection.execute(
            f"CREATE VIEW rows AS SELECT * FROM read_parquet('{root}/**/*.parquet', hive_partitioning = true, filename = true, union_by_name = true)"
        )
    else:
        connection.execute("CREATE TABLE rows (nothing INTEGER)")
else:
    scheme, address = endpoint.split("://")
    store = pyarrow.fs.S3FileSystem(endpoint_override=address, scheme=scheme, region="us-east-1", allow_bucket_creation=False)
    files = store.get_file_info(pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True))
    files = [file.path for file in files if file.path.endswith(".parquet")]
    if files:
        data = pyarrow.dataset.dataset(files, filesystem=store, format="parquet", partitioning="hive")
        table = data.to_table()
        connection.register("rows", table)
    else:
        connection.execute("CREATE TABLE rows (nothing INTEGER)")
result = connection.execute(sql).fetchall()
json.dump([list(row) for row in result], sys.stdout, default=str)
