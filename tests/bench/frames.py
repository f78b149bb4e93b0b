"""The same K table by pandas: raw is read over the driver, everything else happens in data frames.

`python -m tests.bench.frames` reads the warehouse of BENCH_DSN and prints one line of JSON: seconds, peak memory, and a digest of
the rows. Written as somebody would who knows pandas: the columns that are needed and no others, no loop over records but for
lists inside them, groupby and merge for the rest; exact where it must be (counts as integers, the few quotients as
fractions). Under the default policy, as `bare.sql`; its numbers are read from the rules.
"""

from __future__ import annotations

import os
import sys
import time
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import orjson
import pandas as pd

ZONE = "Asia/Ho_Chi_Minh"
MIDNIGHT = pd.Timedelta(0)
KEYS = ["period_code", "unit_code"]
COUNTS = ["a_points", "a_dossiers", "b_points", "b_dossiers", "c_points", "c_ratings"]
INDICES = "abcde"

DOSSIERS = """
select batch_id, record_key, op, procedure_code, status_code, received_at, coalesce(received_at_is_date, false) as
received_is_date, due_at, coalesce(due_at_is_date, false) as due_is_date, coalesce(finished_at, returned_at) as result_at,
coalesce(case when finished_at is not null then finished_at_is_date else returned_at_is_date end, false) as result_is_date,
resolving_unit_source_code as resolving, receiving_unit_source_code as receiving,
coalesce(is_test_record, false) as is_test, nullif(supplements, '[]')::text as supplements
from raw.dossier order by batch_id
"""
RATINGS = """
select batch_id, record_key, op, dossier_code, unit_source_code, channel_code, device_code, question_code, level_code, rated_at
from raw.rating order by batch_id
"""


class Warehouse:
    """Reads queries as data frames."""

    def __init__(self, dsn: str) -> None:
        self._connection = adbc.connect(dsn)

    def cursor(self) -> adbc.Cursor:
        return self._connection.cursor()

    def read(self, query: str) -> pd.DataFrame:
        with self.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetch_arrow_table().to_pandas()

    def in_force(self, feed: str, columns: str) -> pd.DataFrame:
        """The newest version of each record that is not a deletion; for the small feeds."""
        found = self.read(f"select batch_id, record_key, op, {columns} from raw.{feed} order by batch_id")
        return newest(found)


def newest(versions: pd.DataFrame) -> pd.DataFrame:
    found = versions.drop_duplicates("record_key", keep="last")
    return found[found["op"] == "upsert"]


class Rules:
    """The policy and the codes."""

    def __init__(self, warehouse: Warehouse) -> None:
        read = warehouse.read
        policy = read("select * from rules.scoring_policy").iloc[0]
        self.policy_id, self.calendar_code = policy["policy_id"], policy["calendar_code"]
        self.valid_from = pd.Timestamp(policy["valid_from"])
        self.valid_to = pd.Timestamp.max if policy["valid_to"] is None else pd.Timestamp(policy["valid_to"])
        given = read("select parameter, value from rules.scoring_policy_parameter").set_index("parameter")["value"]
        self.parameters: dict[str, str] = given.to_dict()
        codes = warehouse.in_force("code_map", "system, code_kind, source_code, target_code, treatment")
        self._codes = codes[codes["treatment"] != "ignored"]
        self.units = warehouse.in_force(
            "unit_register",
            "unit_code, unit_name, unit_kind, peer_group, peer_group_name, parent_unit_code, valid_from, valid_to,"
            " coalesce(is_scored, false) as is_scored, coalesce(is_receiving_only, false) as is_receiving_only, posting_places",
        )
        self.statuses = read("select * from rules.supplement_status").set_index("status_code")
        self.levels = read("select * from rules.rating_level").set_index("level_code")["class"]
        self.channels = read("select * from rules.rating_channel").set_index("channel_code")["unit_rule"]
        self.duties = read("select * from rules.index_duty").set_index("index_code")
        days = read("select day, is_working_day from rules.calendar_day order by day")
        days["day"] = pd.to_datetime(days["day"])
        days["number"] = days["is_working_day"].cumsum()
        days["ends"] = days["day"].where(days["is_working_day"]).bfill()
        self.days = days.set_index("day")
        self.working_days = days.loc[days["is_working_day"], ["number", "day"]].set_index("number")["day"]

    def number(self, parameter: str) -> Fraction:
        return Fraction(self.parameters[parameter])

    def codes(self, system: str, kind: str) -> pd.Series:
        """Source code → ours."""
        found = self._codes[(self._codes["system"] == system) & (self._codes["code_kind"] == kind)]
        return found.set_index("source_code")["target_code"]

    def unit_codes(self, system: str, kind: str = "unit") -> pd.Series:
        found = self.codes(system, kind)
        return found[found.isin(self.units["unit_code"])]


def local(moments: pd.Series) -> pd.Series:
    return moments.dt.tz_convert(ZONE).dt.tz_localize(None)


def is_midnight(moments: pd.Series) -> pd.Series:
    return moments.dt.normalize() == moments


# -- A and B ------------------------------------------------------------------------------------------------------------


def supplements_of(versions: pd.DataFrame) -> pd.DataFrame:
    """One row per entry of the lists of supplements, with the dossier's row label."""
    told = versions["supplements"].dropna()
    rows = [(label, item) for label, text in zip(told.index, told, strict=True) for item in orjson.loads(text)]
    found = pd.DataFrame([item for _, item in rows], index=[label for label, _ in rows])
    if found.empty:
        names = ("supplement_id", "status_code", "requested_at", "received_at", "due_before_at", "due_after_at")
        found = pd.DataFrame(columns=[*names, *(f"{name}_is_date" for name in names[2:])])
    for name in ("requested_at", "received_at", "due_before_at", "due_after_at"):
        found[name] = pd.to_datetime(found[name], utc=True, format="ISO8601")
        found[f"{name}_is_date"] = found[f"{name}_is_date"].eq(True)
    return found.rename_axis("row").reset_index()


def judged_dossiers(versions: pd.DataFrame, rules: Rules, procedures: pd.DataFrame) -> pd.DataFrame:
    """Dossiers with a result under the policy: unit, day of the result, and the points of A and B."""
    with_due = versions[versions["due_at"].notna()]
    first = with_due.drop_duplicates("record_key", keep="first")[["record_key", "due_at", "due_is_date", "supplements"]]
    results = rules.codes("tthc", "dossier_status")
    results = results[results.isin(rules.parameters["result_statuses"].split(","))]
    d = newest(versions)
    d = d[d["status_code"].isin(results.index) & d["result_at"].notna()].copy()
    d["unit_code"] = d["resolving"].map(rules.unit_codes("tthc"))
    d["result_local"], d["received_local"] = local(d["result_at"]), local(d["received_at"])
    d["event_on"], d["received_on"] = d["result_local"].dt.normalize(), d["received_local"].dt.normalize()
    d = d[d["unit_code"].notna() & (d["event_on"] >= rules.valid_from) & (d["event_on"] < rules.valid_to)]
    d = d.reset_index(drop=True)
    d["received_is_date"] |= is_midnight(d["received_local"])
    d["result_is_date"] |= is_midnight(d["result_local"])
    asked = supplements_of(d)
    d["due_at"], d["due_is_date"] = recorded_due(d, first, asked, rules)
    return with_points(d, asked, rules, procedures)


def recorded_due(
    d: pd.DataFrame, first: pd.DataFrame, asked: pd.DataFrame, rules: Rules
) -> tuple[pd.Series, pd.Series]:
    """The first due date, replaced by the one set when a requested supplement came in full."""
    first = d[["record_key"]].merge(first, on="record_key", how="left")
    due, is_date = first["due_at"], first["due_is_date"].eq(True)
    before = supplements_of(first)
    before = before[before["due_before_at"].notna()].sort_values(["requested_at", "supplement_id"])
    before = before.drop_duplicates("row").set_index("row")
    due.loc[before.index], is_date.loc[before.index] = before["due_before_at"], before["due_before_at_is_date"]

    statuses = rules.codes("tthc", "supplement_status")
    restarts = statuses[statuses.map(rules.statuses["restarts_term"]).eq(True)].index
    again = asked[asked["status_code"].isin(restarts) & asked["received_at"].notna() & asked["due_after_at"].notna()]
    again = again.sort_values(["received_at", "supplement_id"]).drop_duplicates("row", keep="last").set_index("row")
    due.loc[again.index], is_date.loc[again.index] = again["due_after_at"], again["due_after_at_is_date"]
    return due, is_date


def with_points(d: pd.DataFrame, asked: pd.DataFrame, rules: Rules, procedures: pd.DataFrame) -> pd.DataFrame:
    due_local = local(d["due_at"])
    missing = d["due_at"].isna()
    term_on = due_local.dt.normalize()
    is_date = missing | d["due_is_date"] | is_midnight(due_local)

    # Without a recorded due date: the procedure's own limit, in working days after the day of receipt.
    m = d.loc[missing, ["procedure_code", "received_local", "received_on", "received_is_date"]]
    plain = m["procedure_code"].str.extract(r"^([^.]+\.[^.]+)", expand=False).fillna(m["procedure_code"])
    at_once = plain.map(procedures["is_at_once"]).eq(True)
    cutoff = pd.Timedelta(rules.parameters["at_once_cutoff"] + ":00")
    in_the_afternoon = (m["received_local"] - m["received_on"]) >= cutoff
    limit = plain.map(procedures["limit_working_days"]).astype("Float64")
    limit = limit.mask(at_once, (in_the_afternoon & ~m["received_is_date"]).astype("Float64"))
    number = m["received_on"].map(rules.days["number"]).astype("Float64") + limit
    limited = number.map(rules.working_days).mask(limit.eq(0).fillna(False), m["received_on"])
    term_on = term_on.where(~missing, limited.reindex(d.index))

    due_on = term_on.map(rules.days["ends"]).fillna(term_on)
    by_date = is_date | (due_on != term_on) | d["result_is_date"]
    in_time = (d["event_on"] <= due_on).where(by_date, d["result_at"] <= d["due_at"])
    by_day = d["received_is_date"] | d["result_is_date"]
    backwards = (d["received_on"] > d["event_on"]).where(by_day, d["received_at"] > d["result_at"])
    excluded = d["is_test"] | backwards

    returns = returned(d, asked, rules).reindex(d.index, fill_value=0)
    counts, has_due = ~excluded, due_on.notna()
    return pd.DataFrame(
        {
            "unit_code": d["unit_code"],
            "event_on": d["event_on"],
            "a_points": counts & has_due & in_time,
            "a_dossiers": counts & has_due,
            "b_points": counts & (returns <= int(rules.parameters["b_max_returns"])),
            "b_dossiers": counts,
        }
    )


def returned(d: pd.DataFrame, asked: pd.DataFrame, rules: Rules) -> pd.Series:
    """Distinct requests for supplement between receipt and result, per dossier that has any."""
    statuses = rules.codes("tthc", "supplement_status")
    no_returns = statuses[statuses.map(rules.statuses["is_return"]).eq(False)].index
    asked = asked[~asked["status_code"].isin(no_returns) & asked["requested_at"].notna()]
    asked = asked.merge(d, left_on="row", right_index=True, suffixes=("_asked", ""))
    at = local(asked["requested_at"])
    on, is_date = at.dt.normalize(), asked["requested_at_is_date"] | is_midnight(at)
    after = (asked["received_on"] <= on).where(
        is_date | asked["received_is_date"], asked["received_at"] <= asked["requested_at"]
    )
    before = (on <= asked["event_on"]).where(
        is_date | asked["result_is_date"], asked["requested_at"] <= asked["result_at"]
    )
    return asked[(after | asked["received_at"].isna()) & before].groupby("row")["supplement_id"].nunique()


# -- C ------------------------------------------------------------------------------------------------------------------


def judged_ratings(ratings: pd.DataFrame, dossiers: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Ratings of attitude, or of sources that ask no question: unit, day, point. `dossiers`: key, receiving, resolving."""
    r = newest(ratings).copy()
    questions = rules.codes("rating", "rating_question")
    asked = questions[questions == rules.parameters["c_question"]].index
    r = r[r["question_code"].isna() | r["question_code"].isin(asked)]
    told = r["unit_source_code"].map(rules.unit_codes("rating"))
    at_desk = r["channel_code"].map(rules.codes("rating", "rating_channel")).map(rules.channels).eq("receiving")
    unknown = r[told.isna()]
    looked_up = unknown[["dossier_code"]].merge(dossiers, left_on="dossier_code", right_on="record_key", how="left")
    looked_up.index = unknown.index
    at_desk_unknown = at_desk[unknown.index]
    source = looked_up["resolving"].where(~at_desk_unknown, looked_up["receiving"])
    of_dossier = source.map(rules.unit_codes("tthc"))
    of_device = unknown["device_code"].map(rules.unit_codes("rating", "device"))
    guessed = of_dossier.where(~(at_desk_unknown & looked_up["record_key"].isna()), of_device)
    classes = r["level_code"].map(rules.codes("rating", "rating_level")).map(rules.levels)
    found = pd.DataFrame(
        {
            "unit_code": told.fillna(guessed),
            "event_on": local(r["rated_at"]).dt.normalize(),
            "c_points": classes.isin(["good", "middle"]),
            "c_ratings": True,
        }
    )
    inside = (found["event_on"] >= rules.valid_from) & (found["event_on"] < rules.valid_to)
    return found[inside & found["unit_code"].notna()]


# -- windows, D, E -------------------------------------------------------------------------------------------------------


def unit_windows(warehouse: Warehouse, rules: Rules) -> pd.DataFrame:
    """Every period that the loaded events touch × every scored unit active at any moment of it."""
    feeds = "'dossier', 'rating', 'portal_evaluation', 'posting_check'"
    loaded = warehouse.read(
        f"select min(window_start) as loaded_from, max(window_end) as loaded_to from ops.batch where feed in ({feeds})"
    )
    since, until = (local(loaded[name]).dt.normalize().iloc[0] for name in ("loaded_from", "loaded_to"))
    periods = warehouse.read(
        "select calendar_code, period_code, period_start, period_end from rules.publication_calendar"
    )
    units = rules.units[rules.units["is_scored"]].copy()
    for frame, names in ((periods, ("period_start", "period_end")), (units, ("valid_from", "valid_to"))):
        for name in names:
            frame[name] = pd.to_datetime(frame[name])
    periods = periods[(periods["calendar_code"] == rules.calendar_code) & (rules.valid_to > periods["period_start"])]
    periods = periods[(periods["period_end"] > since) & (periods["period_start"] < until)]
    w = periods.merge(units, how="cross")
    w = w[(w["period_end"] > w["valid_from"]) & ~(w["valid_to"] <= w["period_start"])].reset_index(drop=True)
    unit_start = w[["period_start", "valid_from"]].max(axis=1)
    unit_end = w[["period_end", "valid_to"]].min(axis=1)
    w["before_rule"] = (unit_end <= rules.valid_from) | (unit_start >= rules.valid_to)
    w["window_start"] = unit_start.where(w["before_rule"], unit_start.clip(lower=rules.valid_from))
    w["window_end"] = unit_end.where(w["before_rule"], unit_end.clip(upper=rules.valid_to))
    w["too_short"] = (w["window_end"] - w["window_start"]).dt.days < int(rules.parameters["min_window_days"])
    clips = {
        "unit_started": unit_start > w["period_start"],
        "unit_ended": unit_end < w["period_end"],
        "policy_started": ~w["before_rule"] & (rules.valid_from > w["period_start"]),
        "policy_ended": ~w["before_rule"] & (rules.valid_to < w["period_end"]),
    }
    told = [";".join(name for name, mask in clips.items() if mask[row]) or None for row in w.index]
    w["window_clipped"] = pd.Series(told, index=w.index, dtype=object)
    return w


def in_windows(w: pd.DataFrame, days: pd.DataFrame, counts: list[str] = COUNTS) -> pd.DataFrame:
    """Sums of the days of each window."""
    pairs = w[[*KEYS, "window_start", "window_end"]].merge(days, on="unit_code")
    inside = (pairs["event_on"] >= pairs["window_start"]) & (pairs["event_on"] < pairs["window_end"])
    return pairs[inside].groupby(KEYS)[counts].sum().reindex(pd.MultiIndex.from_frame(w[KEYS]), fill_value=0)


def portal_answers(warehouse: Warehouse, rules: Rules, more: str = "") -> tuple[pd.DataFrame, dict[str, str]]:
    """The portal's latest answer per unit and window, with `more` columns; our name of each of its metrics."""
    names = "group_code, window_from, window_to, department_id, total_score, total_petitions, metric_version"
    p = warehouse.in_force("portal_evaluation", f"{names}, metrics::text as metrics{more}")
    metrics = warehouse.read("select * from rules.portal_metric")
    p = p.merge(metrics[["group_code", "metric_version"]].drop_duplicates())
    p["unit_code"] = p["department_id"].map(rules.unit_codes("portal"))
    p = p[p["unit_code"].notna()].sort_values(["batch_id", "record_key"], ascending=[True, False])
    p = p.drop_duplicates(["unit_code", "window_from", "window_to"], keep="last").reset_index(drop=True)
    return p, metrics.set_index("metric_code")["metric"].to_dict()


def portal_scores(warehouse: Warehouse, rules: Rules) -> pd.DataFrame:
    """The portal's latest answer per unit and window, with the counts of its two petition metrics."""
    p, role = portal_answers(warehouse, rules)
    found = []
    for text in p["metrics"]:
        counts = {role.get(item["code"]): (item["numerator"], item["denominator"]) for item in orjson.loads(text)}
        found.append((*counts.get("on_time", (None, None)), *counts.get("handling", (None, None))))
    p[["on_time", "on_time_all", "handling", "handling_all"]] = pd.DataFrame(found, dtype=object)
    p["period_start"] = pd.to_datetime(p["window_from"])
    p["period_end"] = pd.to_datetime(p["window_to"]) + pd.Timedelta(days=1)
    return p.drop(columns=["metrics", "batch_id", "record_key", "op"])


def posted(warehouse: Warehouse, rules: Rules, w: pd.DataFrame) -> pd.DataFrame:
    """Per window: places where the unit must post, those with a valid check, those that passed the latest one."""
    names = "unit_source_code, place_source_code, checked_on, result_source_code"
    c = warehouse.in_force("posting_check", names)
    c["unit_code"] = c["unit_source_code"].map(rules.unit_codes("inspection"))
    c["place"] = c["place_source_code"].map(rules.codes("inspection", "posting_place"))
    c["passes"] = c["result_source_code"].map(rules.codes("inspection", "posting_result"))
    c = c.dropna(subset=["unit_code", "place", "passes"])
    c["passes"], c["checked_on"] = c["passes"] == "pass", pd.to_datetime(c["checked_on"])
    c = c.groupby(["unit_code", "place", "checked_on"], as_index=False)["passes"].all()
    places = w[[*KEYS, "window_end", "posting_places"]].copy()
    places["place"] = places["posting_places"].str.split(";")
    places = places.explode("place")
    places["place"] = places["place"].str.strip()
    places = places[places["place"].fillna("") != ""].drop_duplicates([*KEYS, "place"])
    pairs = places.merge(c, on=["unit_code", "place"])
    age = (pairs["window_end"] - pairs["checked_on"]).dt.days - 1
    pairs = pairs[(age >= 0) & (age <= int(rules.parameters["e_valid_days"]))].sort_values("checked_on")
    last = pairs.drop_duplicates([*KEYS, "place"], keep="last").groupby(KEYS)["passes"]
    index = pd.MultiIndex.from_frame(w[KEYS])
    return pd.DataFrame(
        {
            "places": places.groupby(KEYS).size().reindex(index, fill_value=0),
            "checked": last.size().reindex(index, fill_value=0),
            "passed": last.sum().reindex(index, fill_value=0).astype(int),
        }
    )


# -- K --------------------------------------------------------------------------------------------------------------------


def rounded(value: Fraction, scale: int) -> Decimal:
    """Half away from zero."""
    scaled = abs(value) * 10**scale
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(whole if value >= 0 else -whole).scaleb(-scale)


def exact(value: Any) -> Fraction | None:
    return None if pd.isna(value) else Fraction(str(value))


def score(w: pd.DataFrame, sums: pd.DataFrame, posting: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """One row per period and unit; `w` has the columns of the portal's scores."""
    scale, maxima = int(rules.parameters["k_scale"]), {i: rules.number(f"{i}_max") for i in INDICES}
    duties = rules.duties.to_dict("index")
    rows = []
    for row, count, place in zip(
        w.to_dict("records"), sums.to_dict("records"), posting.to_dict("records"), strict=True
    ):
        values = measured(row, count, place)
        found: dict[str, Any] = dict.fromkeys([*INDICES, "k", "verdict", "verdict_bound"])
        missing, present, possible = [], Fraction(0), Fraction(0)
        for index, (value, status) in values.items():
            barred = barred_by(row, duties[index.upper()])
            if barred:
                status = "before_rule" if barred == "before_policy" else "not_applicable"
            if status != "scored":
                missing.append(f"{index.upper()}:{status}")
                possible += maxima[index]
                continue
            assert value is not None
            found[index] = rounded(value, 15)
            present += value
        barred = barred_by(row, duties["K"])
        found["status_reason"] = barred or ",".join(missing) or None
        if barred:
            found["status"] = "before_rule" if barred == "before_policy" else "not_applicable"
        elif missing:
            found["status"] = "incomplete"
            found["verdict_bound"] = bound(rounded(present, scale), rounded(present + possible, scale), rules)
        else:
            found["status"] = "scored"
            found["k"] = rounded(present, scale)
            found["verdict"] = verdict(found["k"], rules)
        distance = Decimal(rules.parameters["near_threshold_distance"])
        threshold = Decimal(rules.parameters["k_threshold"])
        found["near_threshold"] = found["k"] is not None and abs(found["k"] - threshold) <= distance
        found["small_sample"] = found["k"] is not None and one_petition_decides(row, present, found["verdict"], rules)
        found["no_petitions"] = bool(row["on_time_all"] == 0)
        rows.append(found)
    scored = pd.concat([w, pd.DataFrame(rows, index=w.index, dtype=object)], axis=1)
    return ranked(scored, int(rules.parameters["rank_scale"]))


def measured(
    row: dict[str, Any], count: dict[str, int], place: dict[str, int]
) -> dict[str, tuple[Fraction | None, str]]:
    found: dict[str, tuple[Fraction | None, str]] = {}
    for index, points, records in (
        ("a", "a_points", "a_dossiers"), ("b", "b_points", "b_dossiers"), ("c", "c_points", "c_ratings"),
    ):  # fmt: skip
        has = count[records] > 0
        found[index] = (Fraction(count[points], count[records]), "scored") if has else (None, "no_data")
    total = exact(row["total_score"])
    has_petitions = not pd.isna(row["total_petitions"]) and row["total_petitions"] > 0
    found["d"] = (total, "scored" if total is not None else "blocked_by_quality" if has_petitions else "no_data")
    if place["places"] == 0:
        found["e"] = (None, "not_applicable")
    elif place["checked"] < place["places"]:
        found["e"] = (None, "awaiting_input")
    else:
        found["e"] = (Fraction(place["passed"] == place["places"]), "scored")
    return found


def barred_by(row: dict[str, Any], duty: dict[str, Any]) -> str | None:
    if row["before_rule"]:
        return "before_policy"
    if not pd.isna(row["parent_unit_code"]) and not duty["owed_by_sub_unit"]:
        return "sub_unit"
    if row["is_receiving_only"] and not duty["owed_by_receiving_unit"]:
        return "receiving_only"
    return "window_too_short" if row["too_short"] else None


def verdict(k: Decimal, rules: Rules) -> str:
    threshold = Decimal(rules.parameters["k_threshold"])
    if k == threshold:
        return rules.parameters["k_equal"]
    return "satisfied" if k > threshold else "not_satisfied"


def bound(least: Decimal, most: Decimal, rules: Rules) -> str:
    threshold = Decimal(rules.parameters["k_threshold"])
    if least > threshold:
        return "satisfied_whatever"
    return "not_satisfied_whatever" if most < threshold else "open"


def one_petition_decides(row: dict[str, Any], present: Fraction, held: str, rules: Rules) -> bool:
    """One petition more or fewer, good or bad: would the verdict be another? Both metrics move together."""
    if pd.isna(row["on_time_all"]) or pd.isna(row["handling_all"]):
        return False
    most, scale = rules.number("d_metric_max"), int(rules.parameters["k_scale"])

    def points(good: int, all_: int) -> Fraction:
        return most if all_ == 0 else most * good / all_

    counts = [(int(row[name]), int(row[f"{name}_all"])) for name in ("on_time", "handling")]
    for good, more in ((0, 1), (1, 1), (0, -1), (-1, -1)):
        if more < 0 and not all(n > 0 if good < 0 else n < d for n, d in counts):
            continue
        moved = sum((points(n + good, d + more) - points(n, d) for n, d in counts), present)
        if verdict(rounded(moved, scale), rules) != held:
            return True
    return False


def ranked(scored: pd.DataFrame, scale: int) -> pd.DataFrame:
    """Ties share, whole windows only."""
    step = Decimal(1).scaleb(-scale)
    whole = scored[scored["k"].notna() & scored["window_clipped"].isna()]
    shown = whole["k"].map(lambda k: int(k.quantize(step, ROUND_HALF_UP).scaleb(scale)))
    rank = shown.groupby([whole["period_code"], whole["peer_group"]]).rank(method="min", ascending=False)
    scored["rank_in_group"] = rank.astype("Int64").reindex(scored.index)
    return scored


COLUMNS = (
    "period_code", "calendar_code", "unit_code", "unit_name", "peer_group", "peer_group_name", "unit_kind",
    "parent_unit_code", "a", "b", "c", "d", "e", "k", "verdict", "verdict_bound", "status", "status_reason",
    "rank_in_group", "window_start", "window_end", "window_clipped", "small_sample", "near_threshold", "no_petitions",
    "policy_id", "metric_version",
)  # fmt: skip


def k_table(dsn: str) -> pd.DataFrame:
    """The K table from raw; the columns of marts.k_score that come from the data."""
    warehouse = Warehouse(dsn)
    rules = Rules(warehouse)
    procedures = warehouse.in_force("procedure_register", "procedure_code, limit_working_days, is_at_once")
    versions = warehouse.read(DOSSIERS)
    judged = judged_dossiers(versions, rules, procedures.set_index("procedure_code"))
    units_of = newest(versions[["batch_id", "record_key", "op", "receiving", "resolving"]])
    units_of = units_of[["record_key", "receiving", "resolving"]]
    del versions
    rated = judged_ratings(warehouse.read(RATINGS), units_of, rules)
    of_day = ["unit_code", "event_on"]
    days = judged.groupby(of_day).sum().join(rated.groupby(of_day).sum(), how="outer").fillna(0).astype(np.int64)
    w = unit_windows(warehouse, rules)
    sums = in_windows(w, days.reset_index())
    posting = posted(warehouse, rules, w)
    w = w.merge(portal_scores(warehouse, rules), on=["unit_code", "period_start", "period_end"], how="left")
    scored = score(w, sums, posting, rules)
    scored["policy_id"] = rules.policy_id
    return scored[list(COLUMNS)]


def main() -> None:
    from tests.bench import table
    from tests.bench.measured import peak_memory

    before = time.perf_counter()
    rows = table.of_frames(os.environ["BENCH_DSN"])
    found = {"seconds": time.perf_counter() - before, "memory": peak_memory(), "rows": len(rows)}
    print(orjson.dumps(found | {"digest": table.digest(rows)}).decode())


if __name__ == "__main__":
    main()
    sys.stdout.flush()
