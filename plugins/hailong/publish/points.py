"""The points behind a candidate's numbers, as a file: one row per dossier, rating, portal group or check, and index.

With it an edition can be explained and compared for as long as its folder is kept, without building anything again. It names
dossiers, so it is read by the engineers and the city office only (mode 0600).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from psycopg import sql

from hailong.errors import PermanentError
from hailong.periods import Period
from hailong.publish import ROLE
from hailong.settings import Settings
from hailong.warehouse.connect import adbc_uri

NAME = "points.parquet"
MODELS = ("fct_a_timeliness", "fct_b_guidance", "fct_c_attitude", "fct_d_petitions", "fct_e_posting")
ROW_GROUP = 65_536  # rows that are in memory at a time
POINT = pa.decimal128(20, 15)
MOMENT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        # What is scored: dossier, rating, group (of the portal's evaluation) or check (of a place); its key at the source.
        ("index_code", pa.string()),
        ("unit_code", pa.string()),
        ("record_kind", pa.string()),
        ("record_code", pa.string()),
        ("occurred_on", pa.date32()),
        # counted: with its point; excluded, missing: with the reason; no_unit: of no known unit, for nobody.
        ("status", pa.string()),
        ("reason", pa.string()),
        ("point", POINT),
        # Batch of the version in force. Null for groups and checks: their versions are named by retrieved_at and by their keys.
        ("batch_id", pa.int64()),
        ("dossier_code", pa.string()),
        ("received_at", MOMENT),
        ("received_is_date", pa.bool_()),
        ("due_at", MOMENT),
        ("due_is_date", pa.bool_()),
        ("due_basis_used", pa.string()),
        ("result_at", MOMENT),
        ("result_is_date", pa.bool_()),
        ("working_days_late", pa.int32()),
        ("return_count", pa.int32()),
        ("rated_at", MOMENT),
        ("channel_code", pa.string()),
        ("level_code", pa.string()),
        ("is_overall", pa.bool_()),
        ("unit_basis", pa.string()),
        ("on_time_numerator", pa.int64()),
        ("on_time_denominator", pa.int64()),
        ("handling_numerator", pa.int64()),
        ("handling_denominator", pa.int64()),
        ("dossier_numerator", pa.int64()),
        ("dossier_denominator", pa.int64()),
        ("metric_version", pa.string()),
        ("retrieved_at", MOMENT),
        ("place_code", pa.string()),
        ("checked_on", pa.date32()),
        ("result", pa.string()),
        ("checker_kinds", pa.string()),
        ("is_carried_forward", pa.bool_()),
    ]
)
# Of the units' windows, and of no unit that the register knows: those count for nobody.
IN_WINDOW = (
    "left join {core}.core_unit_window as windows on points.unit_code = windows.unit_code and windows.period_code = {period} "
    "and points.{day} >= windows.window_start and points.{day} < windows.window_end "
    "where (windows.unit_code is not null "
    "or points.unit_code is null and points.{day} >= {start} and points.{day} < {end})"
)
COUNTED = (
    "case when points.unit_code is null then 'no_unit' when points.exclusion_reason is null then 'counted' else 'excluded' end "
    "as status, points.exclusion_reason as reason"
)
# Index → its points of one period, units in order.
QUERIES = {
    "A": (
        "select points.unit_code, 'dossier' as record_kind, points.dossier_code as record_code, points.result_on as occurred_on, "
        "{counted}, points.point::text as point, dossiers.batch_id, points.dossier_code, points.received_at, "
        "points.received_is_date, points.due_at, points.due_is_date, points.due_basis_used, points.result_at, "
        "points.result_is_date, points.working_days_late from {facts}.fct_a_timeliness as points "
        "inner join {core}.core_dossier as dossiers on points.dossier_code = dossiers.dossier_code {in_result_window}"
    ),
    "B": (
        "select points.unit_code, 'dossier' as record_kind, points.dossier_code as record_code, points.result_on as occurred_on, "
        "{counted}, points.point::text as point, dossiers.batch_id, points.dossier_code, points.return_count "
        "from {facts}.fct_b_guidance as points "
        "inner join {core}.core_dossier as dossiers on points.dossier_code = dossiers.dossier_code {in_result_window}"
    ),
    "C": (
        "select points.unit_code, 'rating' as record_kind, points.rating_id as record_code, points.rated_on as occurred_on, "
        "{counted}, points.point::text as point, ratings.batch_id, points.dossier_code, points.rated_at, points.channel_code, "
        "points.level_code, points.is_overall, points.unit_basis from {facts}.fct_c_attitude as points "
        "inner join {core}.core_rating as ratings on points.rating_id = ratings.rating_id {in_rating_window}"
    ),
    "D": (
        "select unit_code, 'group' as record_kind, department_id as record_code, window_to as occurred_on, "
        "case when value is null then 'missing' else 'counted' end as status, missing_reason as reason, "
        "round(value, 15)::text as point, d_on_time_numerator as on_time_numerator, "
        "d_on_time_denominator as on_time_denominator, d_handling_numerator as handling_numerator, "
        "d_handling_denominator as handling_denominator, dossier_numerator, dossier_denominator, metric_version, retrieved_at "
        "from {facts}.fct_d_petitions where period_code = {period}"
    ),
    "E": (
        "select points.unit_code, 'check' as record_kind, checks.check_ids as record_code, points.checked_on as occurred_on, "
        "case when points.result is null then 'missing' else 'counted' end as status, "
        "case when points.result is null then 'posting_unchecked' end as reason, "
        "case when points.result is not null then (points.result = 'pass')::integer end::text as point, points.place_code, "
        "points.checked_on, points.result, points.checker_kinds, points.is_carried_forward "
        "from {facts}.fct_e_posting as points "
        "inner join {core}.dim_policy_parameter as policies on points.policy_id = policies.policy_id "
        "inner join {core}.core_unit_window as windows "
        "on points.unit_code = windows.unit_code and points.period_code = windows.period_code left join lateral ("
        # The latest checks of the place; and where one failure is enough, those of the window that failed.
        "select string_agg(check_id, ',' order by check_id) as check_ids from {core}.core_posting_check as checks "
        "where checks.unit_code = points.unit_code and checks.place_code = points.place_code "
        "and (policies.e_self_check = 'accept' or checks.checker_kind is distinct from 'self') "
        "and (checks.checked_on = points.checked_on or policies.e_basis = 'any_failure' and checks.result_code <> 'pass' "
        "and checks.checked_on >= windows.window_start and checks.checked_on < windows.window_end)"
        ") as checks on true where points.period_code = {period}"
    ),
}

Sums = dict[
    tuple[str, str], list[Decimal]
]  # (unit, index) → sum of the points, how many are counted, how many excluded


@dataclass(frozen=True)
class Written:
    """A file of points: its rows and its SHA-256."""

    row_count: int
    sha256: str


def folder(settings: Settings, candidate_id: str) -> Path:
    """Where the files of a candidate lie until it is an edition."""
    return settings.home / "candidates" / candidate_id


def write(
    settings: Settings, connection: psycopg.Connection, candidate_id: str, period: Period, prefix: str
) -> Written:
    """Write the points behind a candidate, whose rows `connection` has copied from the state with this schema prefix.

    The caller keeps builds away meanwhile. PermanentError when the points do not add up to what the candidate says: then
    either is wrong, and neither is to be signed.
    """
    path = folder(settings, candidate_id) / NAME
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_suffix(".new")
    made.unlink(missing_ok=True)
    sums: Sums = {}
    rows = 0
    with open(made, "xb", opener=_private) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for batch in _batches(settings, connection, period, prefix):
            writer.write_batch(batch)
            rows += batch.num_rows
            _add(sums, batch)
    _prove(connection, candidate_id, period, sums)
    written = Written(rows, digest(made))
    made.replace(path)
    for there in (path, path.parent):  # as durable as the row that names it
        handle = os.open(there, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    return written


def kept(place: Path, sha256: str) -> bool:
    """Whether the file lies in a folder as it was written."""
    path = place / NAME
    return path.is_file() and digest(path) == sha256


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, unit_code: str, index_code: str) -> pa.Table:
    """The points of one unit and index; only the parts of the file that may hold them are read."""
    wanted = (ds.field("unit_code") == unit_code) & (ds.field("index_code") == index_code)
    return ds.dataset(path, format="parquet").to_table(filter=wanted)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _batches(
    settings: Settings, connection: psycopg.Connection, period: Period, prefix: str
) -> Iterator[pa.RecordBatch]:
    with adbc.connect(adbc_uri(settings)) as reading, reading.cursor() as cursor:
        cursor.execute(sql.SQL("set role {}").format(sql.Identifier(ROLE)).as_string(connection))
        for index in QUERIES:
            cursor.execute(_query(index, period, prefix).as_string(connection))
            for batch in cursor.fetch_record_batch():
                for start in range(0, batch.num_rows, ROW_GROUP):
                    yield _in_schema(index, batch.slice(start, ROW_GROUP))


def _query(index: str, period: Period, prefix: str) -> sql.Composed:
    names: dict[str, sql.Composable] = {
        "core": sql.Identifier(f"{prefix}core"),
        "facts": sql.Identifier(f"{prefix}facts"),
        "period": sql.Literal(period.code),
        "start": sql.Literal(period.start),
        "end": sql.Literal(period.end),
    }
    for window, day in (("in_result_window", "result_on"), ("in_rating_window", "rated_on")):
        names[window] = sql.SQL(IN_WINDOW).format(**names, day=sql.Identifier(day))
    ordered = sql.SQL('select * from ({}) as said order by unit_code collate "C", record_code collate "C"')
    return ordered.format(sql.SQL(QUERIES[index]).format(**names, counted=sql.SQL(COUNTED)))


def _in_schema(index: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with all columns of the file: those that this index has not are null."""
    there = dict(zip(batch.schema.names, batch.columns, strict=True))
    there["index_code"] = pa.array([index] * batch.num_rows, pa.string())
    return pa.record_batch(
        [
            there[field.name].cast(field.type) if field.name in there else pa.nulls(batch.num_rows, field.type)
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )


def _add(sums: Sums, batch: pa.RecordBatch) -> None:
    grouped = pa.Table.from_batches([batch]).group_by(["unit_code", "index_code", "status"])
    for row in grouped.aggregate([("point", "sum"), ([], "count_all")]).to_pylist():
        of = sums.setdefault((row["unit_code"], row["index_code"]), [Decimal(0), Decimal(0), Decimal(0)])
        if row["status"] == "counted":
            of[0] += row["point_sum"]
            of[1] += row["count_all"]
        elif row["status"] == "excluded":
            of[2] += row["count_all"]


def _prove(connection: psycopg.Connection, candidate_id: str, period: Period, sums: Sums) -> None:
    """What is scored must be the sum of its points: A to C with their counts, D by its value, E by its places."""
    wrong = []
    rows = connection.execute(
        "select unit_code, index_code, numerator, denominator, excluded from publish.candidate_index_score "
        "where candidate_id = %s and (status = 'scored' or status = 'no_data' and index_code in ('A', 'B', 'C')) order by 1, 2",
        (candidate_id,),
    ).fetchall()
    for unit, index, *said in rows:
        found = sums.get((unit, index), [Decimal(0)] * 3)
        of = {"A": 3, "B": 3, "C": 3, "D": 1, "E": 2}[index]
        if found[:of] != said[:of]:
            # Not of C: the log is read by people who may not know how a few rated.
            figures = "" if index == "C" else f": {_told(said[:of])} in the marts, {_told(found[:of])} in its records"
            wrong.append(f"{unit} {index}{figures}")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise PermanentError(
            f"candidate {candidate_id} of {period}: the records do not add up to the scores ({'; '.join(wrong[:5])}{more}). "
            "Nothing was copied. Run `hailong build --full`; if it stays so, the rule set is at fault"
        )


def _told(values: list[Any]) -> str:
    return " / ".join(str(value.normalize() + 0) if isinstance(value, Decimal) else str(value) for value in values)
