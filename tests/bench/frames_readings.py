"""Every index under every set of readings, by pandas: few rows, for the cases were counted by day before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import orjson
import pandas as pd

from tests.bench.frames import ZONE, Warehouse, barred_by, exact, local, portal_answers, rounded
from tests.bench.frames_core import DAY, Lookups

BASES = ("attribution", "interlinked", "due_basis", "due_missing", "midnight_is_date")
SCALE = 17  # of values as whole numbers: K, up to 22, is less than 2^63 of them
DIGITS = 40  # of a quotient that is added to others
PETITIONS = """
record_key, unit_source_code, status_code, received_at, due_at, coalesce(due_at_is_date, false) as due_at_is_date, refused_at,
answered_at, coalesce(is_satisfied, false) as is_satisfied, coalesce(resent_count, 0) as resent_count
"""


# -- sets of readings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    """Readings that may be taken together of the parameters that touch an index."""

    index: str
    code: str
    base: str
    kind: str
    size: int
    parameters: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.parameters[name]


def reading_sets(warehouse: Warehouse, rules: Lookups) -> list[Set]:
    """dim_reading_set: legal readings vote together, in every combination; the others are looked at one by one."""
    readings = warehouse.read("select * from rules.scoring_reading")
    chosen = rules.parameters
    results = set(chosen["result_statuses"].split(","))
    found = []
    for index in "ABCDEK":
        voting: dict[str, list[dict[str, str]]] = {}
        alone = []
        for r in readings.to_dict("records"):
            name, value = r["parameter"], r["value"]
            if (
                index not in r["indices"].split(",")
                or not pd.isna(r["not_computed"])
                or chosen.get(name, value) == value
            ):
                continue
            if name == "result_statuses" and not set(value.split(",")) <= results:
                continue
            if r["kind"] == "legal_gap":
                voting.setdefault(name, [{}]).append({name: value})
            else:
                alone.append((r["kind"], {name: value}))
        combined: list[tuple[str, dict[str, str]]] = []
        for options in itertools.product(*voting.values()):
            changes = {name: value for option in options for name, value in option.items()}
            combined.append(("legal_gap" if changes else "own", changes))
        first = {r["parameter"]: r["indices"].split(",")[0] for r in readings.to_dict("records")}
        for kind, changes in combined + alone:
            told = sorted(f"{name}={value}" for name, value in changes.items())
            base = sorted(f"{name}={value}" for name, value in changes.items() if name in BASES)
            found.append(
                Set(
                    index,
                    " + ".join(told) or "own",
                    " + ".join(base) or "own",
                    kind,
                    sum(first[name] == index for name in changes),
                    chosen | changes,
                )
            )
    return found


# -- sums by window ----------------------------------------------------------------------------------------------------


def by_window(w: pd.DataFrame, cases: pd.DataFrame, by: list[str], count: str) -> pd.DataFrame:
    """Counts of the days of each window: `window` is its number. Days are summed between borders of windows first."""
    borders = np.unique(np.concatenate([w["window_start"].to_numpy(), w["window_end"].to_numpy()]))
    cases = cases.assign(stretch=np.searchsorted(borders, cases["event_on"].to_numpy(), side="right") - 1)
    cases = cases.groupby(["unit_code", "stretch", *by], sort=False, observed=True)[count].sum().reset_index()
    windows = pd.DataFrame(
        {
            "window": np.arange(len(w)),
            "unit_code": w["unit_code"].to_numpy(),
            "since": np.searchsorted(borders, w["window_start"].to_numpy()),
            "until": np.searchsorted(borders, w["window_end"].to_numpy()),
        }
    )
    pairs = windows.merge(cases, on="unit_code")
    pairs = pairs[(pairs["stretch"] >= pairs["since"]) & (pairs["stretch"] < pairs["until"])]
    return pairs.groupby(["window", *by], sort=False, observed=True)[count].sum().reset_index()


def counted(sums: pd.DataFrame, count: str, mask: pd.Series, windows: int) -> np.ndarray:
    held = sums[mask]
    return np.bincount(held["window"], held[count], windows).astype(np.int64)


@dataclass(frozen=True)
class Quotient:
    """Points by records, by window; `scale` times both. `full`: windows where nothing to count is a full score."""

    set_: Set
    points: np.ndarray
    records: np.ndarray
    scale: int = 1
    full: np.ndarray | None = None


def a_quotients(w: pd.DataFrame, cases: pd.DataFrame, sets: list[Set]) -> Iterator[Quotient]:
    cases = cases[cases["lateness"] != "excluded"].astype({"unit_code": str, "lateness": str})
    by = ["base_code", "status_code", "lateness", "is_inherited_overdue"]
    sums = by_window(w, cases, by, "dossiers")
    for s in sets:
        m = sums["base_code"].isin(["own", s.base]) & sums["status_code"].isin(s["result_statuses"].split(","))
        if s["inherited_overdue"] != "count":
            m &= ~sums["is_inherited_overdue"]
        point = Fraction(s["a_point_within_grace"])
        points, graced, records = (
            counted(sums, "dossiers", mask, len(w))
            for mask in (m & (sums["lateness"] == "in_time"), m & (sums["lateness"] == "within_grace"), m)
        )
        scale = point.denominator
        yield Quotient(s, points * scale + graced * point.numerator, records * scale, scale)


def b_quotients(w: pd.DataFrame, cases: pd.DataFrame, sets: list[Set]) -> Iterator[Quotient]:
    cases = cases[~cases["is_excluded"]].astype({"unit_code": str})
    sums = by_window(w, cases, ["base_code", "status_code", "return_count", "permitted_returns"], "dossiers")
    for s in sets:
        m = sums["base_code"].isin(["own", s.base]) & sums["status_code"].isin(s["result_statuses"].split(","))
        is_left_out = (sums["return_count"] == 0) & (s["b_population"] == "returned")
        returns = sums["return_count"]
        if s["b_threshold"] == "beyond_permitted":
            returns = returns - sums["permitted_returns"]
        guided = (returns <= int(s["b_max_returns"])).astype(bool)
        points, records, left_out = (
            counted(sums, "dossiers", mask, len(w))
            for mask in (m & ~is_left_out & guided, m & ~is_left_out, m & is_left_out)
        )
        yield Quotient(s, points, records, full=left_out > 0)


def c_quotients(w: pd.DataFrame, cases: pd.DataFrame, sets: list[Set], rules: Lookups) -> Iterator[Quotient]:
    inside = (cases["event_on"] >= rules.valid_from) & (cases["event_on"] < rules.valid_to)
    cases = cases[inside].astype(dict.fromkeys(("unit_code", "question_code", "status_code", "level_class"), str))
    by = ["question_code", "is_city_system", "status_code", "level_class"]
    alone = by_window(w, cases[cases["dossier_code"] == ""], by, "ratings")
    several = cases[cases["dossier_code"] != ""]
    for s in sets:
        singly = several[answers(several, s)]
        if s["c_repeat"] == "last_per_dossier_day":
            last = singly.groupby(["dossier_code", "event_on"])["recency"].transform("min")
            singly = singly[singly["recency"] == last]
        sums = pd.concat([alone[answers(alone, s)], by_window(w, singly, by, "ratings")])
        is_good = sums["level_class"].isin(["good", "middle"] if s["c_middle_level"] == "good" else ["good"])
        points, records = (
            counted(sums, "ratings", mask, len(w)) for mask in (is_good, pd.Series(True, index=sums.index))
        )
        yield Quotient(s, points, records)


def answers(cases: pd.DataFrame, s: Set) -> pd.Series:
    """Whether ratings of a kind answer the question and came by one of the channels."""
    asked = cases["question_code"].isin(["", s["c_question"]])
    if s["c_channels"] == "art9":
        return asked
    return asked & cases["is_city_system"] & cases["status_code"].isin(s["result_statuses"].split(","))


def divided(points: np.ndarray, records: np.ndarray, digits: int) -> np.ndarray:
    """Quotients from nought to one, cut off after so many decimals, as whole numbers; exact where records are below 10^17."""
    records = np.maximum(records, 1)
    found, rest = np.divmod(points, records)
    for _ in range(digits):
        digit, rest = np.divmod(rest * 10, records)
        found = found * 10 + digit
    return found


# -- D -----------------------------------------------------------------------------------------------------------------


def portal_rows(warehouse: Warehouse, rules: Lookups, w: pd.DataFrame) -> pd.DataFrame:
    """The portal's latest answer for each window, by the windows' own labels; `score`: what it makes of its metrics."""
    p, role = portal_answers(warehouse, rules, more=", total_max_score, retrieved_at")
    read = warehouse.read(
        "select group_code, window_from, window_to, max(retrieved_at) as read_at from ops.snapshot group by 1, 2, 3"
    )
    p = p.merge(read, on=["group_code", "window_from", "window_to"], how="left")
    p["retrieved_at"] = p[["retrieved_at", "read_at"]].max(axis=1)
    found = []
    for text in p["metrics"]:
        metrics = {role.get(item["code"]): item for item in orjson.loads(text)}
        row: dict[str, Any] = {}
        for name in ("on_time", "handling", "dossier"):
            item = metrics.get(name) or {}
            row |= {name: item.get("numerator"), f"{name}_all": item.get("denominator")}
            row[f"{name}_score"] = exact(item.get("score"))
        found.append(row)
    p = pd.concat([p.reset_index(drop=True), pd.DataFrame(found, dtype=object)], axis=1)
    p["total_score"] = pd.Series(map(exact, p["total_score"]), dtype=object)
    p["period_start"] = pd.to_datetime(p["window_from"]).astype(DAY)
    p["period_end"] = (pd.to_datetime(p["window_to"]) + pd.Timedelta(days=1)).astype(DAY)
    names = ["total_score", "total_max_score", "total_petitions", "metric_version", "retrieved_at", *found[0]]
    p["has_row"] = True
    of = ["unit_code", "period_start", "period_end"]
    return w[of].merge(p[[*of, "has_row", *names]], on=of, how="left").set_index(w.index)


def petitions(warehouse: Warehouse, rules: Lookups) -> pd.DataFrame:
    """fct_d_petition: petitions that a known unit received, whether they were refused, and when their answer was due."""
    p = warehouse.in_force("petition", PETITIONS).reset_index(drop=True)
    p["unit_code"] = p["unit_source_code"].map(rules.unit_codes("portal"))
    p["received_on"] = local(p["received_at"]).dt.normalize()
    p = p[p["unit_code"].notna() & p["received_on"].notna()].reset_index(drop=True)
    status = p["status_code"].map(rules.codes("portal", "petition_status"))
    p["is_refused"] = (status == "refused").where(status.notna(), p["refused_at"].notna() & p["answered_at"].isna())
    terms = warehouse.read("select * from rules.petition_term where term_code = 'answer'").iloc[0]
    received = p["received_on"].to_numpy().astype("M8[D]")
    number, is_known = rules.calendar.number(received)
    last = rules.calendar.working_day(np.where(is_known, number.astype(np.int64) + int(terms["working_days"]), 0))
    runs = received >= np.datetime64(terms["valid_from"])
    if not pd.isna(terms["valid_to"]):
        runs &= received < np.datetime64(terms["valid_to"])
    has_due = p["due_at"].notna().to_numpy()
    told = local(p["due_at"]).to_numpy().astype("M8[D]")
    term_on = np.where(has_due, told, np.where(runs, last, np.datetime64("NaT")))
    due_on = rules.calendar.ends(term_on)
    p["due_on"] = due_on.astype(DAY)
    p["due_is_date"] = ~has_due | p["due_at_is_date"].to_numpy() | ((due_on != term_on) & ~np.isnat(term_on))
    return p


def read_windows(warehouse: Warehouse, w: pd.DataFrame, portal: pd.DataFrame) -> pd.Series:
    """The moment as of which a window's petitions are judged, where they were read without a gap; by the windows' labels."""
    reads = warehouse.read(
        "select window_start, window_end from ops.batch where feed = 'petition' and read_kind in ('window', 'snapshot',"
        " 'file') and window_start is not null and window_end is not null order by window_start, window_end, batch_id"
    )
    gap = reads["window_start"] > reads["window_end"].cummax().shift()
    spans = reads.groupby(gap.cumsum()).agg(since=("window_start", "min"), until=("window_end", "max"))
    retrieved = portal["retrieved_at"]
    asked_on = local(retrieved.fillna(retrieved.max())).dt.normalize()
    until = pd.concat([w["window_end"], asked_on], axis=1).min(axis=1)
    found = pd.Series(pd.NaT, index=w.index, dtype="datetime64[us, UTC]")
    for span in spans.itertuples(index=False):
        since_local, until_local = (moment.tz_convert(ZONE).tz_localize(None) for moment in span)
        m = ~w["before_rule"] & (w["window_start"] >= since_local) & (until <= until_local)
        found = found.mask(m, retrieved.fillna(span.until).clip(upper=span.until).astype(found.dtype))
    return found


def petition_counts(p: pd.DataFrame, w: pd.DataFrame, judged_at: pd.Series, midnight: bool) -> pd.DataFrame:
    """Of petitions answered or past their due date: opinions, answers in time, satisfied ones; none where they were not read."""
    windows = w.assign(judged_at=judged_at, window=w.index)[judged_at.notna()]
    names = ["window", "unit_code", "window_start", "window_end", "judged_at"]
    j = windows[names].merge(p, on="unit_code")
    j = j[
        (j["window_start"] <= j["received_on"])
        & (j["received_on"] < j["window_end"])
        & (j["received_at"] <= j["judged_at"])
    ]
    is_date = j["due_is_date"]
    if midnight:
        due = local(j["due_at"])
        is_date = is_date | (due == due.dt.normalize())
    is_refused = j["is_refused"] & (j["refused_at"].isna() | (j["refused_at"] <= j["judged_at"]))
    is_answered = ~is_refused & (j["answered_at"] <= j["judged_at"])
    is_past = (j["due_on"] < local(j["judged_at"]).dt.normalize()).where(is_date, j["due_at"] < j["judged_at"])
    answered_on = local(j["answered_at"]).dt.normalize()
    in_time = (answered_on <= j["due_on"]).where(is_date, j["answered_at"] <= j["due_at"])
    found = pd.DataFrame(
        {
            "window": j["window"],
            "opinions": (j["resent_count"] + 1) * (is_answered | (~is_refused & is_past)),
            "in_time": is_answered & in_time,
            "satisfied": is_answered & j["is_satisfied"],
        }
    )
    return found.groupby("window").sum().reindex(windows.index, fill_value=0).astype(np.int64)


def d_values(
    portal: pd.DataFrame, counts: dict[str, pd.DataFrame], s: Set, rules: Lookups
) -> list[tuple[Fraction | None, Any, str, str | None]]:
    """By window: D, the most there is under the definition, its status, and what is missing."""
    most, found = rules.number("d_metric_max"), []
    again = counts[s.base].to_dict("index")
    definition = s["d_definition"]
    for window, row in zip(portal.index, portal.to_dict("records"), strict=True):
        rated = s["d_zero_dossier"] == "portal" or pd.isna(row["dossier_all"]) or row["dossier_all"] != 0
        value: Fraction | None = None
        if definition == "portal_group":
            value = told(row["total_score"]) if rated else None
            maximum = row["total_max_score"]
        elif definition == "recomputed_104":
            recount, dossier = again.get(window), told(row["dossier_score"])
            if rated and recount and dossier is not None:
                opinions = recount["opinions"]
                parts = [
                    tail_cut(most * recount[name] / opinions) if opinions else most for name in ("in_time", "satisfied")
                ]
                value = sum(parts, dossier)
            maximum = rules.parameters["d_max"]
        else:
            scores = [told(row[f"{name}_score"]) for name in ("on_time", "handling")]
            rescaled = definition == "petition_rescaled"
            weight = rules.number("d_max") / (2 * most) if rescaled else Fraction(1)
            value = None if None in scores else sum(filter(None, scores), Fraction(0)) * weight
            maximum = rules.parameters["d_max"] if rescaled else 2 * most
        has_row = row["has_row"] is True
        reason = None if value is not None else missing_reason(row, definition, rated)
        found.append((value, maximum if has_row else None, d_status(value, row, reason), reason))
    return found


def told(value: Any) -> Any:
    return value if isinstance(value, Fraction) else None


def missing_reason(row: dict[str, Any], definition: str, rated: bool) -> str:
    if definition == "portal_group" and not pd.isna(row["total_score"]):
        return "no_dossier_rated"
    if definition == "recomputed_104" and not pd.isna(row["dossier_score"]):
        return "petitions_not_read" if rated else "no_dossier_rated"
    return "portal_score_missing"


def d_status(value: Fraction | None, row: dict[str, Any], reason: str | None) -> str:
    if value is not None:
        return "scored"
    if reason in ("no_dossier_rated", "petitions_not_read"):
        return "no_data"
    has_petitions = not pd.isna(row["total_petitions"]) and row["total_petitions"] > 0
    return "blocked_by_quality" if has_petitions else "no_data"


def tail_cut(value: Fraction) -> Fraction:
    return Fraction(decimal_of(value, DIGITS))


def decimal_of(value: Fraction | None, scale: int) -> Decimal | None:
    with localcontext(prec=76):
        return None if value is None else rounded(value, scale)


# -- E -----------------------------------------------------------------------------------------------------------------


def posting_checks(warehouse: Warehouse, rules: Lookups) -> pd.DataFrame:
    names = "unit_source_code, place_source_code, checked_on, result_source_code, checker_kind_source_code"
    c = warehouse.in_force("posting_check", names)
    c["unit_code"] = c["unit_source_code"].map(rules.unit_codes("inspection"))
    for column, kind in (("place", "posting_place"), ("result", "posting_result"), ("checker", "checker_kind")):
        source = "checker_kind_source_code" if column == "checker" else f"{column}_source_code"
        c[column] = c[source].map(rules.codes("inspection", kind))
    c["checked_on"] = pd.to_datetime(c["checked_on"])
    return c.dropna(subset=["unit_code", "place", "result"])


def posted(c: pd.DataFrame, w: pd.DataFrame, s: Set | None, rules: Lookups) -> pd.DataFrame:
    """By window and place where the unit must post: whether it passed, or NA without a check that counts. `s` None: by policy."""
    chosen = rules.parameters if s is None else s.parameters
    if chosen["e_self_check"] != "accept":
        c = c[c["checker"] != "self"]
    places = w[["unit_code", "window_start", "window_end", "posting_places"]].rename_axis("window").reset_index()
    places["place"] = places["posting_places"].str.split(";")
    places = places.explode("place")
    places["place"] = places["place"].str.strip()
    places = places[places["place"].fillna("") != ""].drop_duplicates(["window", "place"])
    j = places.merge(c[["unit_code", "place", "checked_on", "result"]], on=["unit_code", "place"])
    age = (j["window_end"] - j["checked_on"]).dt.days - 1
    j["is_valid"] = age <= int(rules.parameters["e_valid_days"])
    j["is_inside"] = j["window_start"] <= j["checked_on"]
    j = j[(age >= 0) & (j["is_valid"] | j["is_inside"])]
    of = [j["window"], j["place"]]
    is_passed = j["result"] == "pass"
    is_last = j["checked_on"] == j.groupby(of)["checked_on"].transform("max")
    j["failed"] = j["is_inside"] & ~is_passed & (chosen["e_basis"] == "any_failure")
    j["passed"] = is_passed | ~is_last
    found = j.groupby(of).agg(is_valid=("is_valid", "any"), failed=("failed", "any"), passed=("passed", "all"))
    found = found[found["is_valid"] | found["failed"]]
    passed = (found["passed"] & ~found["failed"]).astype("boolean")
    places["passed"] = passed.reindex(pd.MultiIndex.from_frame(places[["window", "place"]])).array
    return places[["window", "place", "passed"]]


def posting_counts(places: pd.DataFrame, w: pd.DataFrame) -> pd.DataFrame:
    """Per window: places, those checked, those passed."""
    of = places.groupby("window")["passed"]
    found = pd.DataFrame({"places": of.size(), "checked": of.count(), "passed": of.sum()})
    return found.reindex(w.index).fillna(0).astype(np.int64)


def e_measured(count: dict[str, int]) -> tuple[Fraction | None, str]:
    if count["places"] == 0:
        return None, "not_applicable"
    if count["checked"] < count["places"]:
        return None, "awaiting_input"
    return Fraction(count["passed"] == count["places"]), "scored"


# -- the tables --------------------------------------------------------------------------------------------------------


def index_scores(
    w: pd.DataFrame, sums: pd.DataFrame, own: list[tuple[Fraction | None, Any, str, str | None]], places: pd.DataFrame,
    rules: Lookups,
) -> pd.DataFrame:  # fmt: skip
    """index_score. `sums`: the policy's counts by window; `own`: D by its definition."""
    unchecked = places[places["passed"].isna()].sort_values("place").groupby("window")["place"].agg(",".join)
    posting, duties, rows = posting_counts(places, w), rules.duties.to_dict("index"), []
    for row, count, d, place in zip(
        w.rename_axis("window").reset_index().to_dict("records"), sums.to_dict("records"), own, posting.to_dict("records"),
        strict=True,
    ):  # fmt: skip
        measured: dict[str, tuple[Any, ...]] = {}
        for index, records in (("A", "a_dossiers"), ("B", "b_dossiers"), ("C", "c_ratings")):
            points, of, excluded = (
                count[name] for name in (f"{index.lower()}_points", records, f"{index.lower()}_excluded")
            )
            reason = "no_rating" if index == "C" else "no_resolved_dossier"
            value = rounded(Fraction(points, of), 15) if of else None
            measured[index] = (points, of, excluded, value, "scored" if of else "no_data", None if of else reason)
        value, maximum, status, missing = d
        value = decimal_of(value, 15)
        measured["D"] = (
            value,
            number(maximum),
            None,
            value,
            status,
            missing if row["has_row"] is True else "no_portal_row",
        )
        e, status = e_measured(place)
        told = (place["passed"], place["places"]) if place["places"] else (None, None)
        reasons = {
            "not_applicable": "no_posting_place",
            "awaiting_input": f"posting_unchecked:{unchecked.get(row['window'])}",
        }
        measured["E"] = (*told, None, None if e is None else Decimal(int(e)), status, reasons.get(status))
        for index, found in measured.items():
            barred = barred_by(row, duties[index])
            if barred:
                found = (*[None] * 4, "before_rule" if barred == "before_policy" else "not_applicable", barred)
            rows.append((row["window"], index, *found))
    names = ["window", "index_code", "numerator", "denominator", "excluded", "value", "status", "status_reason"]
    table = pd.DataFrame(rows, columns=names, dtype=object)
    of = w[["period_code", "calendar_code", "unit_code", "window_start", "window_end"]]
    table = table.join(of, on="window").assign(policy_id=rules.policy_id)
    for name in ("numerator", "denominator"):
        table[name] = [number(value) for value in table[name]]
    return table


def number(value: Any) -> Decimal | None:
    if pd.isna(value):
        return None
    return Decimal(value.numerator) / value.denominator if isinstance(value, Fraction) else Decimal(str(value))


def index_readings(
    w: pd.DataFrame, quotients: list[Quotient], portal: pd.DataFrame, counts: dict[str, pd.DataFrame], c: pd.DataFrame,
    sets: list[Set], rules: Lookups,
) -> pd.DataFrame:  # fmt: skip
    """index_reading of the windows `w`, numbered from nought, that the portal's rows and the counts are told of."""
    found = [of_quotient(q) for q in quotients]
    for s in sets:
        if s.index == "D":
            values = d_values(portal, counts, s, rules)
            value = [decimal_of(v, 15) for v, *_ in values]
            told = {"numerator": value, "denominator": [number(m) for _, m, *_ in values], "value": value}
            told |= {"exact_value": [decimal_of(v, DIGITS) for v, *_ in values], "status": [v[2] for v in values]}
            scaled = [int((v or 0) * 10**SCALE) for v, *_ in values]
            found.append(of_set(s, told, len(w)).assign(scaled=scaled))
        elif s.index == "E":
            posting = posting_counts(posted(c, w, s, rules), w).to_dict("records")
            measured = [e_measured(count) for count in posting]
            told = {name: [Decimal(p[of]) if p["places"] else None for p in posting]
                    for name, of in (("numerator", "passed"), ("denominator", "places"))}  # fmt: skip
            told |= {
                "value": [None if e is None else Decimal(int(e)) for e, _ in measured],
                "exact_value": [None] * len(w),
            }
            told |= {"status": [status for _, status in measured]}
            found.append(of_set(s, told, len(w)).assign(scaled=[int(e or 0) * 10**SCALE for e, _ in measured]))
    table = pd.concat(found, ignore_index=True)
    table = table.join(w[["period_code", "unit_code"]], on="window").assign(policy_id=rules.policy_id)
    for index, duty in rules.duties.iterrows():
        is_barred = pd.Series(False, index=w.index)
        if not duty["owed_by_sub_unit"]:
            is_barred |= w["parent_unit_code"].notna()
        if not duty["owed_by_receiving_unit"]:
            is_barred |= w["is_receiving_only"]
        table = table[~((table["index_code"] == index) & is_barred.to_numpy()[table["window"]])]
    return table.reset_index(drop=True)


def of_set(s: Set, told: dict[str, list[Any]], windows: int) -> pd.DataFrame:
    found = pd.DataFrame(
        {"window": np.arange(windows)} | {name: pd.Series(v, dtype=object) for name, v in told.items()}
    )
    return found.assign(index_code=s.index, set_code=s.code, kind=s.kind, size=s.size)


def of_quotient(q: Quotient) -> pd.DataFrame:
    has, full = q.records > 0, np.zeros(len(q.records), dtype=bool) if q.full is None else q.full
    scaled = np.where(has, divided(q.points, q.records, SCALE), np.where(full, 10**SCALE, 0))
    values = (scaled + 50) // 100
    told = {
        "numerator": [Decimal(p) / q.scale for p in q.points.tolist()],
        "denominator": [Decimal(r) / q.scale for r in q.records.tolist()],
        "value": [
            Decimal(value).scaleb(-15) if is_known else None
            for value, is_known in zip(values.tolist(), (has | full).tolist(), strict=True)
        ],
        "exact_value": [None] * len(has),
        "status": np.where(has | full, "scored", "no_data").tolist(),
    }
    return of_set(q.set_, told, len(has)).assign(scaled=scaled)
