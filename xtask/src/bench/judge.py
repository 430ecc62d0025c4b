"""Compares the records that two runs made rows and dead letters of; prints rows, lost, foreign and doubled ones."""

import sys

import duckdb

connection = duckdb.connect()
for name, folder in zip(("run", "other"), sys.argv[1:3]):
    # A record is one or the other, so its place in the topic says which row it is.
    connection.execute(
        f"""CREATE TABLE {name} AS
        SELECT _kafka_partition AS lane, _kafka_offset AS place, 'row' AS kind FROM read_parquet('{folder}/clean/**/*.parquet')
        UNION ALL
        SELECT "partition", "offset", 'letter' FROM read_parquet('{folder}/dead_letters/**/*.parquet')"""
    )


def count(sql):
    return connection.execute(f"SELECT count(*) FROM ({sql})").fetchone()[0]


rows = count("FROM run")
lost = count("FROM other EXCEPT FROM run")
foreign = count("FROM run EXCEPT FROM other")
doubled = rows - count("SELECT DISTINCT lane, place FROM run")
print(rows, lost, foreign, doubled)
