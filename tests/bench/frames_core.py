"""Dossiers and ratings by pandas: every version read once over the driver, then the tables of core.

A frame of dossiers has one row per dossier in force, numbered from nought; what hangs on one names it by that number (`row`):
nothing is joined by its code again. Codes are categoricals: what is known of a code is looked up once per code. Days are
moments at midnight of the city's clock. What may be unknown is NaT, NA or no category; a comparison with it is false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from tests.bench.frames import ZONE, Rules, Warehouse, local

# Of steps only the codes are read, and only where a dossier waits or was stopped.
VERSIONS = """
select
    batch_id, record_key, op = 'upsert' as is_upsert, procedure_code, channel_code, status_code,
    received_at, coalesce(received_at_is_date, false) as received_at_is_date,
    due_at, coalesce(due_at_is_date, false) as due_at_is_date,
    coalesce(finished_at, returned_at) as result_at,
    coalesce(case when finished_at is not null then finished_at_is_date else returned_at_is_date end, false) as
    result_at_is_date,
    finished_at is not null as is_finished, resolving_unit_source_code as resolving, receiving_unit_source_code as receiving,
    official, coalesce(is_interlinked, false) as is_interlinked, coalesce(is_dummy_identity, false) as is_dummy_identity,
    coalesce(is_test_record, false) as is_test_record, updated_at, nullif(supplements, '[]')::text as supplements,
    case when is_interlinked then nullif(participants, '[]') end::text as participants,
    case
        when
            status_code in (
                select source_code from raw.code_map
                where
                    code_kind = 'dossier_status'
                    and target_code in (select status_code from rules.dossier_status where is_interrupted)
            )
            then jsonb_path_query_array(steps, '$[*].status_code')
    end::text as step_codes
from raw.dossier
"""
RATINGS = """
select
    batch_id, record_key, op, rating_id, dossier_code, unit_source_code, channel_code, device_code, question_code, level_code,
    rated_at
from raw.rating order by batch_id
"""
QUARANTINED = """
select feed, record_key, max(batch_id) as batch_id from ops.quarantine
where record_key is not null group by feed, record_key
"""
CODES = ("procedure_code", "channel_code", "status_code", "resolving", "receiving", "official")
RATING_CODES = ("op", "unit_source_code", "channel_code", "device_code", "question_code", "level_code")
DAY, ON = "datetime64[us]", "datetime64[D]"
MOMENT, TEXT, FLAG = pa.timestamp("us", "UTC"), pa.string(), pa.bool_()
SUPPLEMENT = {
    "supplement_id": TEXT, "status_code": TEXT,
    **{f"{name}_at": MOMENT for name in ("requested", "received", "due_before", "due_after")},
    **{f"{name}_at_is_date": FLAG for name in ("requested", "received", "due_before", "due_after")},
}  # fmt: skip
PARTICIPANT = {
    "participant_id": TEXT, "unit_source_code": TEXT, "role_code": TEXT,
    **{f"{name}_at": MOMENT for name in ("received", "due", "finished")},
    **{f"{name}_at_is_date": FLAG for name in ("received", "due", "finished")},
}  # fmt: skip


# -- reading -----------------------------------------------------------------------------------------------------------


def read_coded(warehouse: Warehouse, query: str, codes: tuple[str, ...]) -> pa.Table:
    """What a query answers, the columns of `codes` encoded batch by batch: as text the whole would not fit."""
    with warehouse.cursor() as cursor:
        cursor.execute(query)
        batches = []
        for batch in cursor.fetch_record_batch():
            columns = [
                column.dictionary_encode() if name in codes else column
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            ]
            batches.append(pa.RecordBatch.from_arrays(columns, names=batch.schema.names))
    return pa.Table.from_batches(batches).unify_dictionaries()


def keyed(table: pa.Table) -> tuple[pa.Table, pa.StringArray]:
    """`record_key` replaced by its number, `key`; and the keys, in the order in which they first come."""
    found = table.column("record_key").combine_chunks().dictionary_encode()
    return table.set_column(table.schema.get_field_index("record_key"), "key", found.indices), found.dictionary


def listed(texts: pd.Series, content: pa.DataType) -> pa.ListArray:
    """Lists written as JSON, each read as a list of `content`; what else stands in them is left out."""
    found = []
    before, after, between = (pa.scalar(text, pa.large_string()) for text in ('{"l":', "}\n", ""))
    told = pa.array(texts, pa.large_string())
    for chunk in told.chunks if isinstance(told, pa.ChunkedArray) else [told]:
        lines = pc.binary_join_element_wise(before, chunk, after, between)
        found.append(
            pj.read_json(
                pa.BufferReader(lines.buffers()[2]),
                parse_options=pj.ParseOptions(
                    explicit_schema=pa.schema([("l", pa.list_(content))]), unexpected_field_behavior="ignore"
                ),
                read_options=pj.ReadOptions(block_size=1 << 24),
            )
        )
    return pa.concat_tables(found).column("l").combine_chunks()


def items(texts: pd.Series, fields: dict[str, pa.DataType]) -> pd.DataFrame:
    """One row per entry of lists of objects: `row` is the list's label, `number` its place in the list from one."""
    names = ["row", "number", *fields]
    if texts.empty:
        empty = pa.schema([("row", pa.int64()), ("number", pa.int32()), *fields.items()]).empty_table()
        return flagged(empty.to_pandas())[names]
    lists = listed(texts, pa.struct(list(fields.items())))
    entries, of = lists.flatten(), lists.value_parent_indices().to_numpy()
    starts = lists.offsets.to_numpy()
    found = pa.table(entries.flatten(), names=list(fields)).to_pandas()
    found["row"] = texts.index.to_numpy()[of]
    found["number"] = (np.arange(len(of)) - (starts - starts[0])[of] + 1).astype(np.int32)
    return flagged(found)[names]


def flagged(found: pd.DataFrame) -> pd.DataFrame:
    for name in found.columns:
        if name.endswith("_is_date"):
            found[name] = found[name].eq(True)
    return found


class Lookups(Rules):
    """The rules, and what else is small enough to be looked things up in."""

    def __init__(self, warehouse: Warehouse) -> None:
        super().__init__(warehouse)
        read = warehouse.read
        self.dossier_statuses = read("select * from rules.dossier_status").set_index("status_code")
        self.city_channels = read("select * from rules.rating_channel").set_index("channel_code")["is_city_system"]
        procedures = warehouse.in_force(
            "procedure_register", "procedure_code, limit_working_days, is_at_once, permitted_supplements"
        )
        self.procedures = procedures.set_index("procedure_code")
        self.procedures["is_at_once"] = self.procedures["is_at_once"].eq(True)
        self.began = pd.to_datetime(self.units.set_index("unit_code")["valid_from"]).astype(DAY)
        self.reached = read("select feed, max(window_end) as read_to from ops.batch group by feed").set_index("feed")
        self.quarantined = read(QUARANTINED)
        self.calendar = Calendar(self.days)

    def as_units(self, places: np.ndarray) -> pd.Categorical:
        return pd.Categorical.from_codes(places, self.units["unit_code"])

    def read_until(self, feed: str) -> pd.Timestamp:
        """The day up to which a feed was read, exclusive."""
        return self.reached.loc[feed, "read_to"].tz_convert(ZONE).tz_localize(None).normalize()


class Calendar:
    """Working days, by a day's distance from the first one that the calendar knows. Days come and go as numpy's."""

    def __init__(self, days: pd.DataFrame) -> None:
        known = days.index.to_numpy().astype(ON)
        self._first = known[0]
        self._numbers = days["number"].to_numpy(np.int32)
        self._ends = days["ends"].fillna(days.index.to_series()).to_numpy().astype(ON)
        self._working_days = known[days["is_working_day"].to_numpy(bool)]

    def _places(self, on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = (on - self._first).astype(np.int64)
        is_known = ~np.isnat(on) & (places >= 0) & (places < len(self._numbers))
        return np.where(is_known, places, 0), is_known

    def number(self, on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Working days from the first day to each, and whether the calendar knows the day."""
        places, is_known = self._places(on)
        return self._numbers[places], is_known

    def working_day(self, number: np.ndarray) -> np.ndarray:
        """The day of a number, NaT where there is none."""
        is_known = (number >= 1) & (number <= len(self._working_days))
        return np.where(is_known, self._working_days[np.where(is_known, number, 1) - 1], np.datetime64("NaT"))

    def ends(self, on: np.ndarray) -> np.ndarray:
        """A term that ends on a day off ends with the next working day; a day outside the calendar stays as it is."""
        places, is_known = self._places(on)
        return np.where(is_known, self._ends[places], on)


# -- codes -------------------------------------------------------------------------------------------------------------


def recoded(column: pd.Series, known: pd.Series) -> pd.Series:
    """A categorical's values, each replaced by what is known of it; unknown ones by none. `known`: code → value."""
    told = known.reindex(column.cat.categories)
    places, values = pd.factorize(told)
    codes = np.append(places, -1)[column.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, values), index=column.index)


def looked_up(column: pd.Series, known: pd.Series) -> pd.Series:
    """What is known of a categorical's values, by the type of `known`: NA, NaT or NaN for the others."""
    told = known.reindex(column.cat.categories)
    codes = column.cat.codes.to_numpy()
    found = told.array.take(np.where(codes < 0, -1, codes), allow_fill=True)
    return pd.Series(found, index=column.index)


def unit_codes(rules: Lookups, column: pd.Series, system: str, kind: str = "unit") -> pd.Series:
    """Our units, always numbered by their place in the register."""
    told = rules.unit_codes(system, kind).reindex(column.cat.categories)
    places = np.append(pd.Index(rules.units["unit_code"]).get_indexer(told), -1)
    codes = places[column.cat.codes.to_numpy()].astype(np.int16)
    return pd.Series(rules.as_units(codes), index=column.index)


def whole(values: np.ndarray, is_known: np.ndarray) -> pd.arrays.IntegerArray:
    return pd.arrays.IntegerArray(values, ~is_known)


def truth(values: np.ndarray | pd.Series, is_known: np.ndarray | pd.Series) -> pd.arrays.BooleanArray:
    return pd.arrays.BooleanArray(np.asarray(values, dtype=bool), ~np.asarray(is_known, dtype=bool))


# -- versions ----------------------------------------------------------------------------------------------------------


def first_rows(keys: np.ndarray, rows: np.ndarray, count: int, last: bool = False) -> np.ndarray:
    """Of `rows`, in their order, the first (or last) of each key, by key; -1 where it has none."""
    again = pd.Series(keys[rows]).duplicated(keep="last" if last else "first").to_numpy()
    found = np.full(count, -1, dtype=np.int64)
    found[keys[rows[~again]]] = rows[~again]
    return found


@dataclass
class Told:
    """What raw tells of dossiers. All but the entries of lists by key: the keys are numbered as they first came."""

    keys: pa.StringArray
    history: pd.DataFrame  # core_dossier_history without the key
    newest: pd.DataFrame  # the columns of VERSIONS
    supplements: pd.DataFrame  # those of the newest versions, `key` among their columns


def read_dossiers(warehouse: Warehouse, rules: Lookups) -> Told:
    table = read_coded(warehouse, VERSIONS, CODES)
    table, keys = keyed(table)
    v = table.to_pandas(split_blocks=True, self_destruct=True)
    del table
    if not v["batch_id"].is_monotonic_increasing:
        v = v.sort_values("batch_id", kind="stable", ignore_index=True)
    key, batches, rows = v["key"].to_numpy(), v["batch_id"].to_numpy(), np.arange(len(v))
    newest = first_rows(key, rows, len(keys), last=True)
    first_due = first_rows(key, rows[(v["is_upsert"] & v["due_at"].notna()).to_numpy()], len(keys))
    first_result = first_rows(key, rows[v["result_at"].notna().to_numpy()], len(keys))
    history = pd.DataFrame(
        {
            "batch_id": batches[newest],
            "first_batch_id": batches[first_rows(key, rows, len(keys))],
            "first_result_batch_id": whole(batches[first_result], first_result >= 0),
            "first_due_at": v["due_at"].array.take(first_due, allow_fill=True),
            "first_due_at_is_date": truth(v["due_at_is_date"].to_numpy()[first_due], first_due >= 0),
        }
    )
    # Lists are read where something hangs on them: in the newest version, and in the first with a due date.
    asked = rows[v["supplements"].notna().to_numpy()]
    asked = asked[(newest[key[asked]] == asked) | (first_due[key[asked]] == asked)]
    supplements = items(v["supplements"].take(asked), SUPPLEMENT)
    supplements["key"] = key[supplements["row"].to_numpy()]
    statuses = rules.codes("tthc", "supplement_status")
    supplements["status_code"] = recoded(supplements["status_code"].astype("category"), statuses)
    is_first = supplements["row"].to_numpy() == first_due[supplements["key"]]
    is_newest = supplements["row"].to_numpy() == newest[supplements["key"]]
    with_due_dates(history, supplements[is_first], supplements[is_newest], rules)
    v = v.drop(columns="supplements").take(newest).reset_index(drop=True)
    return Told(keys, history, v, supplements[is_newest].drop(columns="row"))


def with_due_dates(history: pd.DataFrame, first: pd.DataFrame, newest: pd.DataFrame, rules: Lookups) -> None:
    """The due dates that requests for supplement tell: the one before them, and the one set when what was asked came in full."""
    before = first[first["due_before_at"].notna()]
    before = before.sort_values(["requested_at", "supplement_id", "due_before_at", "due_before_at_is_date"])
    before = before.drop_duplicates("key").set_index("key")
    history.loc[before.index, "first_due_at"] = before["due_before_at"]
    history.loc[before.index, "first_due_at_is_date"] = before["due_before_at_is_date"]

    restarts = newest["status_code"].isin(rules.statuses.index[rules.statuses["restarts_term"]])
    again = newest[restarts & newest["received_at"].notna() & newest["due_after_at"].notna()]
    again = again.sort_values(
        ["received_at", "supplement_id", "due_after_at", "due_after_at_is_date"], ascending=[False, False, False, True]
    )
    again = again.drop_duplicates("key").set_index("key")
    history["restart_due_at"] = again["due_after_at"].reindex(history.index)
    history["restart_due_at_is_date"] = again["due_after_at_is_date"].astype("boolean").reindex(history.index)


# -- core --------------------------------------------------------------------------------------------------------------


def dossiers_in_force(told: Told, rules: Lookups) -> pd.DataFrame:
    """core_dossier, and beside it of each dossier its `key`, official, lists of participants."""
    is_held = told.newest["is_upsert"].to_numpy()
    n = told.newest[is_held].reset_index(drop=True)
    h = told.history[is_held].reset_index(drop=True)
    n["status_code"] = recoded(n["status_code"], rules.codes("tthc", "dossier_status"))
    plain = pd.Series(n["procedure_code"].cat.categories)
    plain = plain.str.extract(r"^([^.]+\.[^.]+)", expand=False).fillna(plain)
    has_result = n["result_at"].notna()
    d = pd.DataFrame(
        {
            "dossier_code": pd.Series(told.keys.take(pa.array(n["key"])).to_pandas()),
            "batch_id": n["batch_id"],
            "first_batch_id": h["first_batch_id"],
            "first_result_batch_id": h["first_result_batch_id"],
            "procedure_code": recoded(n["procedure_code"], plain.set_axis(n["procedure_code"].cat.categories)),
            "channel_code": recoded(n["channel_code"], rules.codes("tthc", "channel")),
            "status_code": n["status_code"],
            "received_at": n["received_at"],
            "received_at_is_date": n["received_at_is_date"],
            "received_on": local(n["received_at"]).dt.normalize(),
            "result_at": n["result_at"],
            "result_at_is_date": truth(n["result_at_is_date"], has_result),
            "result_on": local(n["result_at"]).dt.normalize(),
            "result_moment_basis": moment_basis(n["is_finished"], has_result),
            "source_due_at": n["due_at"],
            "source_due_at_is_date": n["due_at_is_date"],
            **{name: h[name] for name in h.columns if name.startswith(("first_due", "restart_due"))},
            "resolving_unit_code": unit_codes(rules, n["resolving"], "tthc"),
            "receiving_unit_code": unit_codes(rules, n["receiving"], "tthc"),
            **{name: n[name] for name in ("is_interlinked", "is_dummy_identity", "is_test_record")},
            "has_inserted_step": has_inserted_step(n, rules),
            "is_stale": is_stale(told.keys.take(pa.array(n["key"])), n["batch_id"], rules.quarantined, "dossier"),
            "updated_at": n["updated_at"],
            "key": n["key"],
            "official": n["official"],
            "participants": n["participants"],
        }
    )
    return d


def moment_basis(is_finished: pd.Series, has_result: pd.Series) -> pd.Series:
    codes = np.where(has_result, np.where(is_finished, 0, 1), -1)
    return pd.Series(pd.Categorical.from_codes(codes, ["finished", "handed_over"]))


def has_inserted_step(n: pd.DataFrame, rules: Lookups) -> np.ndarray:
    """Some software adds a step "done" to dossiers that wait or were stopped, so that another system takes them."""
    means = rules.codes("tthc", "dossier_status")
    done = means.index[means.map(rules.dossier_statuses["is_done"]).eq(True)]
    interrupted = rules.dossier_statuses.index[rules.dossier_statuses["is_interrupted"]]
    texts = n.loc[n["status_code"].isin(interrupted), "step_codes"].dropna()
    found = np.zeros(len(n), dtype=bool)
    if len(texts):
        lists = listed(texts, TEXT)
        is_done = pc.is_in(lists.flatten(), value_set=pa.array(done)).to_numpy(zero_copy_only=False)
        found[texts.index.to_numpy()[lists.value_parent_indices().to_numpy()[is_done]]] = True
    return found


def is_stale(codes: pa.StringArray, batches: pd.Series, quarantined: pd.DataFrame, feed: str) -> np.ndarray:
    """A newer version could not be read: this one is known to be out of date."""
    told = quarantined[quarantined["feed"] == feed]
    place = pc.index_in(codes, value_set=pa.array(told["record_key"], TEXT)).to_numpy(zero_copy_only=False)
    newer = np.append(told["batch_id"].to_numpy(), np.iinfo(np.int64).min)
    return newer[np.where(np.isnan(place), -1, place).astype(np.int64)] > batches.to_numpy()


def with_rows(found: pd.DataFrame, d: pd.DataFrame, keys: int) -> pd.DataFrame:
    """Entries told by `key` get the `row` of their dossier in force."""
    rows = np.full(keys, -1, dtype=np.int64)
    rows[d["key"]] = np.arange(len(d))
    found["row"] = rows[found["key"]]
    return found.drop(columns="key")


def supplements_of(told: Told, d: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """core_supplement, with the dossier's `row` instead of its code."""
    found = with_rows(told.supplements, d, len(told.keys)).rename(columns={"number": "supplement_no"})
    # A request whose status is unknown was still a request.
    known = looked_up(found["status_code"], rules.statuses["is_return"].astype("boolean"))
    found["is_return"] = known.fillna(True).astype(bool)
    return found


def participants_of(d: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """core_dossier_participant likewise."""
    found = items(d["participants"].dropna(), PARTICIPANT).rename(columns={"number": "participant_no"})
    found["unit_code"] = unit_codes(rules, found.pop("unit_source_code").astype("category"), "tthc")
    roles = rules.codes("tthc", "participant_role")
    found["role_code"] = recoded(found["role_code"].astype("category"), roles)
    return found


def ratings_in_force(warehouse: Warehouse, rules: Lookups, d: pd.DataFrame) -> pd.DataFrame:
    """core_rating, and beside it the `row` of the dossier in force, or -1."""
    table, keys = keyed(read_coded(warehouse, RATINGS, RATING_CODES))
    v = table.to_pandas()
    r = v.drop_duplicates("key", keep="last")
    r = r[r["op"] == "upsert"].reset_index(drop=True)
    row = pc.index_in(pa.array(r["dossier_code"], TEXT), value_set=pa.array(d["dossier_code"], TEXT))
    row = row.fill_null(-1).to_numpy().astype(np.int64)
    channel = recoded(r["channel_code"], rules.codes("rating", "rating_channel"))
    at_desk = looked_up(channel, rules.channels).eq("receiving").fillna(False).to_numpy(bool)
    level = recoded(r["level_code"], rules.codes("rating", "rating_level"))
    rated = unit_codes(rules, r["unit_source_code"], "rating").cat.codes
    device = unit_codes(rules, r["device_code"], "rating", "device").cat.codes
    receiving, resolving = (
        np.append(d[name].cat.codes, np.int16(-1))[row] for name in ("receiving_unit_code", "resolving_unit_code")
    )
    basis = np.select([rated >= 0, at_desk & (row >= 0), at_desk], [0, 1, 2], 3)
    unit = np.choose(basis, [rated, receiving, device, resolving])
    bases = ["rated", "receiving", "device", "resolving"]
    return pd.DataFrame(
        {
            "rating_id": r["rating_id"],
            "dossier_code": r["dossier_code"],
            "unit_code": rules.as_units(unit),
            "unit_basis": pd.Categorical.from_codes(np.where(unit >= 0, basis, -1), bases),
            "channel_code": channel,
            "has_question": r["question_code"].notna(),
            "question_code": recoded(r["question_code"], rules.codes("rating", "rating_question")),
            "level_code": level,
            "level_class": recoded(level, rules.levels),
            "rated_at": r["rated_at"],
            "rated_on": local(r["rated_at"]).dt.normalize(),
            "batch_id": r["batch_id"],
            "first_batch_id": v.drop_duplicates("key").set_index("key")["batch_id"].reindex(r["key"]).to_numpy(),
            "is_stale": is_stale(keys.take(pa.array(r["key"])), r["batch_id"], rules.quarantined, "rating"),
            "row": row,
        }
    )


def lost_records(warehouse: Warehouse, rules: Lookups, told: Told, d: pd.DataFrame) -> pd.DataFrame:
    """core_lost_record: deleted, or never readable; what happened last."""
    synced = warehouse.read("select batch_id, record_key, op from raw.dossier_sync order by batch_id")
    synced = synced.drop_duplicates("record_key", keep="last")
    gone = told.newest.loc[~told.newest["is_upsert"], ["batch_id", "key"]]
    gone["record_key"] = told.keys.take(pa.array(gone.pop("key"))).to_pandas().to_numpy()
    held = {"dossier": d["dossier_code"], "dossier_sync": synced.loc[synced["op"] == "upsert", "record_key"]}
    lost = [
        gone.assign(feed="dossier", reason="deleted"),
        synced[synced["op"] == "delete"].drop(columns="op").assign(feed="dossier_sync", reason="deleted"),
    ]
    for feed, codes in held.items():
        never = rules.quarantined[rules.quarantined["feed"] == feed]
        is_held = pc.is_in(pa.array(never["record_key"], TEXT), value_set=pa.array(codes, TEXT))
        lost.append(never[~is_held.to_numpy(zero_copy_only=False)].assign(reason="quarantined"))
    found = pd.concat(lost, ignore_index=True).sort_values("batch_id")
    return found.drop_duplicates(["feed", "record_key"], keep="last")
