"""The tables of a full build by pandas: the same raw, read over the driver, and every table of the dossier road made of it.

`python -m tests.bench.frames_tables` works on the built warehouse of BENCH_DSN and prints one line of JSON: `seconds` to read
and compute, `writing` the tables back apart, peak memory, rows by table, and the digest of the K table. Written as somebody
would who knows pandas (`frames_core`, `frames_facts`, `frames_marts`, `frames_readings`, `frames_sensitivity`; K is that of
`frames`): no loop over dossiers, codes as categoricals, days counted before periods. Each table is written as soon as it is
made, and what nothing more is made of is let go. Tables go by COPY into unlogged ones of a schema of their own, which have the
columns of the build's, no constraint and no index.
"""

from __future__ import annotations

import os
import time

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import orjson
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql

from tests.bench import frames_core as core
from tests.bench import frames_facts as facts
from tests.bench import frames_marts as marts
from tests.bench import frames_readings as readings
from tests.bench import frames_sensitivity as sensitivity
from tests.bench import table
from tests.bench.frames import COLUMNS, COUNTS, Warehouse, in_windows, score, unit_windows

SCHEMA = "by_frames"
BUILT = ("core", "facts", "marts", "officials")
AT_ONCE = 1_000_000  # rows as text at one time: codes are numbers before
ARROW = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}


class Tables:
    """Takes the tables as they are made; they are gone when it is left. `seconds`: what writing them took."""

    def __init__(self, dsn: str) -> None:
        self.seconds = 0.0
        self.rows: dict[str, int] = {}
        self._sql = psycopg.connect(dsn, autocommit=True)
        self._copy = adbc.connect(dsn)
        clear(self._sql)
        self._sql.execute(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_: object) -> None:
        clear(self._sql)
        self._sql.close()
        self._copy.close()

    def write(self, schema: str, name: str, frame: pd.DataFrame) -> None:
        """A frame with the columns of the build's table of that name, in any order, others beside them."""
        before = time.perf_counter()
        self._sql.execute(
            sql.SQL("create unlogged table {} as select * from {} with no data").format(
                sql.Identifier(SCHEMA, name), sql.Identifier(schema, name)
            )
        )
        columns = self._sql.execute(
            "select column_name, data_type from information_schema.columns"
            " where table_schema = %s and table_name = %s order by ordinal_position",
            (SCHEMA, name),
        ).fetchall()
        for start in range(0, len(frame), AT_ONCE):
            part = frame.iloc[start : start + AT_ONCE]
            made = pa.table({column: arrow(part[column], ARROW.get(kind)) for column, kind in columns})
            if all(kind in ARROW for _, kind in columns):
                with self._copy.cursor() as cursor:
                    cursor.adbc_ingest(name, made, mode="append", db_schema_name=SCHEMA)
                self._copy.commit()
            else:
                self._copy_text(name, made)
        self.rows[f"{schema}.{name}"] = len(frame)
        self.seconds += time.perf_counter() - before

    def _copy_text(self, name: str, made: pa.Table) -> None:
        """Exact numbers: the driver would need a second for six thousand long ones. The tables that have any are small."""
        text = pa.BufferOutputStream()
        pa.csv.write_csv(made, text, pa.csv.WriteOptions(include_header=False))
        statement = sql.SQL("copy {} from stdin (format csv)").format(sql.Identifier(SCHEMA, name))
        with self._sql.cursor().copy(statement) as copy:
            copy.write(text.getvalue())


def arrow(values: pd.Series, kind: pa.DataType | None) -> pa.Array:
    """`kind` None: a number of any scale, as text."""
    if kind is None:
        return pa.array([None if pd.isna(value) else str(value) for value in values.tolist()], pa.string())
    return pa.array(values, from_pandas=True).cast(kind)


def clear(connection: psycopg.Connection) -> None:
    """Drop what an earlier run made."""
    connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(SCHEMA)))


def differences(connection: psycopg.Connection) -> list[str]:
    """In words, how many rows of its tables the build has and pandas has not, and the other way round."""
    found = []
    pairs = connection.execute(
        "select ours.table_name, built.table_schema from information_schema.tables as ours left join information_schema.tables as"
        " built on ours.table_name = built.table_name and built.table_schema = any(%s) where ours.table_schema = %s order by 1",
        (list(BUILT), SCHEMA),
    ).fetchall()
    for name, schema in pairs:
        ours, theirs = sql.Identifier(SCHEMA, name), sql.Identifier(schema, name)
        found += table.left_over(connection, name, ours, theirs)
    return found


def fill(dsn: str, tables: Tables) -> pd.DataFrame:
    """Makes all tables; returns K."""
    warehouse = Warehouse(dsn)
    rules = core.Lookups(warehouse)
    told = core.read_dossiers(warehouse, rules)
    tables.write("core", "core_dossier_history", told.history.assign(record_key=told.keys.to_pandas()))
    d = core.dossiers_in_force(told, rules)
    asked = core.supplements_of(told, d, rules)
    tables.write("core", "core_dossier", d)
    tables.write("core", "core_supplement", coded(asked, d))
    tables.write("core", "core_lost_record", core.lost_records(warehouse, rules, told, d))
    del told
    steps = core.participants_of(d, rules)
    d = d.drop(columns="participants")
    tables.write("core", "core_dossier_participant", coded(steps, d))
    ratings = core.ratings_in_force(warehouse, rules, d)
    tables.write("core", "core_rating", ratings)
    f = facts.facts(d, asked, rules)
    tables.write("facts", "fct_dossier", f)
    a = facts.a_readings(d, f, rules)
    tables.write("facts", "fct_a_reading", coded(facts.of_readings(a, f, rules), d))
    b = facts.b_readings(d, f, asked)
    tables.write("facts", "fct_b_reading", coded(facts.of_readings(b, f, rules), d))
    own_steps = facts.a_participants(steps, d, f, rules)
    tables.write("facts", "fct_a_participant", coded(facts.of_readings(own_steps, f, rules), d))
    own, is_result = facts.own_cases(f), f["is_result"].to_numpy()
    a_case = facts.a_cases(own, is_result, a, own_steps, rules)
    b_case = facts.b_cases(own, is_result, b, rules)
    c_case = facts.c_cases(ratings, d, rules)
    tables.write("facts", "fct_unit_day_a_case", a_case)
    tables.write("facts", "fct_unit_day_b_case", b_case)
    tables.write("facts", "fct_unit_day_c_case", c_case)
    tables.write("facts", "fct_unit_day_flow", facts.flows(f))
    tables.write("facts", "fct_unit_day_overdue_long", facts.overdue_long(f, rules))
    days = marts.unit_days(a_case, b_case, c_case, rules)
    tables.write("facts", "fct_unit_day", days)
    w = unit_windows(warehouse, rules)
    sums = in_windows(w, days, marts.DAY_COUNTS)
    of_officials = marts.official_days(d, f, ratings, rules)
    names = d["official"].cat.categories
    del d, f, ratings, asked, steps, a, b, own_steps, own
    scores = marts.official_scores(warehouse, rules, w, of_officials, names, sums)
    tables.write("officials", "official_score", scores)
    return scored(warehouse, rules, tables, w, sums, a_case, b_case, c_case)


def scored(
    warehouse: Warehouse, rules: core.Lookups, tables: Tables, w: pd.DataFrame, sums: pd.DataFrame, a_case: pd.DataFrame,
    b_case: pd.DataFrame, c_case: pd.DataFrame,
) -> pd.DataFrame:  # fmt: skip
    """The tables by period, from cases by day; returns K."""
    sets = readings.reading_sets(warehouse, rules)
    portal = readings.portal_rows(warehouse, rules, w)
    petitions = readings.petitions(warehouse, rules)
    judged_at = readings.read_windows(warehouse, w, portal)
    counts = {
        "own": readings.petition_counts(petitions, w, judged_at, True),
        "midnight_is_date=false": readings.petition_counts(petitions, w, judged_at, False),
    }
    checks = readings.posting_checks(warehouse, rules)
    of = {index: [s for s in sets if s.index == index] for index in "ABCDEK"}
    own = readings.d_values(portal, counts, next(s for s in of["D"] if s.code == "own"), rules)
    places = readings.posted(checks, w, None, rules)
    w = w.join(portal.drop(columns=["unit_code", "period_start", "period_end"]))
    tables.write("marts", "index_score", readings.index_scores(w, sums, own, places, rules))
    k = score(w, sums[COUNTS], readings.posting_counts(places, w), rules).assign(policy_id=rules.policy_id)

    is_read = ~w["before_rule"] & ~w["too_short"]
    number = pd.Series(np.cumsum(is_read) - 1, index=w.index)
    r = w[is_read].reset_index(drop=True)
    quotients = [
        *readings.a_quotients(r, a_case, of["A"]),
        *readings.b_quotients(r, b_case, of["B"]),
        *readings.c_quotients(r, c_case, of["C"], rules),
    ]
    counts = {base: told[is_read[told.index]].rename(index=number) for base, told in counts.items()}
    read = readings.index_readings(r, quotients, r, counts, checks, sets, rules)
    tables.write("marts", "index_reading", read)
    stability = sensitivity.k_sensitivity(warehouse, r, read, sets, rules)
    tables.write("marts", "k_sensitivity", stability)
    shown = ["period_code", "unit_code", "verdict_stability", "k_min", "k_max"]
    tables.write("marts", "k_score", k.merge(stability[shown], on=["period_code", "unit_code"], how="left"))
    return k[list(COLUMNS)]


def coded(found: pd.DataFrame, d: pd.DataFrame) -> pd.DataFrame:
    """With the codes of the dossiers that `row` numbers."""
    return found.assign(dossier_code=d["dossier_code"].array.take(found["row"].to_numpy()))


def main() -> None:
    from tests.bench.measured import peak_memory

    dsn = os.environ["BENCH_DSN"]
    with Tables(dsn) as tables:
        before = time.perf_counter()
        k = table.of_frame(fill(dsn, tables))
        seconds = time.perf_counter() - before - tables.seconds
    found = {"seconds": seconds, "writing": tables.seconds, "memory": peak_memory(), "rows": tables.rows}
    print(orjson.dumps(found | {"digest": table.digest(k)}).decode())


if __name__ == "__main__":
    main()
