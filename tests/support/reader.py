"""Runs a query on the Parquet files below a folder or an S3 prefix and prints the rows as JSON.

DuckDB reads the files by itself, on S3 through its extension httpfs. With `pyarrow` in the place of a query, pyarrow reads
them, and prints how many rows it found.
"""

import json
import os
import sys
from pathlib import Path

kind, root, sql, endpoint = sys.argv[1:5]


def with_duckdb():
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    where = root
    if kind == "s3":
        import duckdb_extension_httpfs

        extension = next(Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension"))
        connection.execute(f"LOAD '{extension}'")
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        address = endpoint.split("://")[1]
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{address}', REGION 'us-east-1', URL_STYLE 'path', USE_SSL false)"
        )
        where = f"s3://{root}"
    files = f"{where}/**/*.parquet"
    if connection.execute(f"SELECT count(*) FROM glob('{files}')").fetchall()[0][0] > 0:
        connection.execute(
            f"CREATE VIEW rows AS SELECT * FROM read_parquet('{files}', hive_partitioning = true, filename = true, union_by_name = true)"
        )
    else:
        connection.execute("CREATE TABLE rows (nothing INTEGER)")
    return [list(row) for row in connection.execute(sql).fetchall()]


def with_pyarrow():
    import pyarrow.dataset
    import pyarrow.fs

    if kind == "s3":
        scheme, address = endpoint.split("://")
        store = pyarrow.fs.S3FileSystem(endpoint_override=address, scheme=scheme, region="us-east-1", allow_bucket_creation=False)
    else:
        store = pyarrow.fs.LocalFileSystem()
    found = store.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    files = [file.path for file in found if file.path.endswith(".parquet")]
    data = pyarrow.dataset.dataset(files, filesystem=store, format="parquet", partitioning="hive")
    return [[data.to_table().num_rows]]


json.dump(with_pyarrow() if sql == "pyarrow" else with_duckdb(), sys.stdout, default=str)
