"""What is summed by day, and officials by period, by pandas. What is printed is exact: fractions, then decimals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd

from tests.bench.frames import COUNTS, KEYS, Warehouse, rounded
from tests.bench.frames_core import Lookups

DAY_COUNTS = [
    "a_points", "a_dossiers", "a_excluded", "b_points", "b_dossiers", "b_excluded", "b_not_returned", "c_points", "c_ratings",
    "c_excluded",
]  # fmt: skip
OF_DAY = ["unit_code", "event_on"]


def unit_days(a: pd.DataFrame, b: pd.DataFrame, c: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """fct_unit_day: what the policy counts of the cases of a day."""
    a, b = a[a["base_code"] == "own"], b[b["base_code"] == "own"]
    c = c[(c["unit_code"] != "") & c["question_code"].isin(["", rules.parameters["c_question"]])]
    is_kept = a["lateness"] != "excluded"
    guided = b["return_count"] <= int(rules.parameters["b_max_returns"])
    sums = [
        a[OF_DAY].assign(
            a_points=a["dossiers"] * (a["lateness"] == "in_time"),
            a_dossiers=a["dossiers"] * is_kept,
            a_excluded=a["dossiers"] * ~is_kept,
        ),
        b[OF_DAY].assign(
            b_points=b["dossiers"] * (guided & ~b["is_excluded"]),
            b_dossiers=b["dossiers"] * ~b["is_excluded"],
            b_excluded=b["dossiers"] * b["is_excluded"],
        ),
        c[OF_DAY].assign(
            c_points=c["ratings"] * c["level_class"].isin(["good", "middle"]), c_ratings=c["ratings"]
        ),
    ]  # fmt: skip
    days = pd.concat([found.astype({"unit_code": str}).groupby(OF_DAY).sum() for found in sums], axis=1)
    days = days.reindex(columns=DAY_COUNTS).fillna(0).astype(np.int64).reset_index()
    inside = (days["event_on"] >= rules.valid_from) & (days["event_on"] < rules.valid_to)
    return days[inside]


# -- officials ---------------------------------------------------------------------------------------------------------


def official_days(d: pd.DataFrame, f: pd.DataFrame, ratings: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """Points by unit, official in charge and day; what counts for another unit than the one that resolves is not theirs."""
    unit, official = d["resolving_unit_code"].cat.codes, d["official"].cat.codes
    m = (f["is_result"] & (unit >= 0) & (official >= 0)).to_numpy()
    g = f[m]
    is_guided = ~(g["is_test_record"] | g["comes_before"])
    results = pd.DataFrame(
        {
            "unit": unit[m],
            "official": official[m],
            "event_on": g["result_on"],
            "a_points": g["lateness"] == 0,
            "a_dossiers": g["exclusion"] < 0,
            "b_points": is_guided & (g["return_count"] <= int(rules.parameters["b_max_returns"])),
            "b_dossiers": is_guided,
        }
    )
    asks = ratings["question_code"].eq(rules.parameters["c_question"]) | ~ratings["has_question"]
    inside = (ratings["rated_on"] >= rules.valid_from) & (ratings["rated_on"] < rules.valid_to)
    r = ratings[asks & inside & (ratings["row"] >= 0) & ratings["unit_code"].notna()]
    row = r["row"].to_numpy()
    turns = pd.DataFrame(
        {
            "unit": r["unit_code"].cat.codes.to_numpy(),
            "official": official.to_numpy()[row],
            "event_on": r["rated_on"].to_numpy(),
            "c_points": r["level_class"].isin(["good", "middle"]).to_numpy(),
            "c_ratings": True,
        }
    )
    turns = turns[(turns["unit"] == unit.to_numpy()[row]) & (turns["official"] >= 0)]
    days = ["unit", "official", "event_on"]
    total = pd.concat([found.groupby(days, sort=False).sum().reset_index() for found in (results, turns)])
    total = total[total["a_dossiers"].gt(0) | total["b_dossiers"].gt(0) | total["c_ratings"].gt(0)]
    total[COUNTS] = total[COUNTS].fillna(0).astype(np.int64)
    return total


def official_scores(
    warehouse: Warehouse, rules: Lookups, w: pd.DataFrame, days: pd.DataFrame, names: pd.Index, unit_sums: pd.DataFrame
) -> pd.DataFrame:
    """official_score. `names`: pseudonyms by number; `unit_sums`: the unit's own counts by window."""
    told = by_finished_period(warehouse, rules, w, days, names)
    told["unit_c_ratings"] = unit_sums["c_ratings"].reindex(pd.MultiIndex.from_frame(told[KEYS])).to_numpy()
    least = int(rules.parameters["c_min_ratings"])
    is_quarter = told["period_kind"] == "quarter"
    quarters = told[is_quarter].copy()
    quarters["own_reason"] = np.where(quarters["c_ratings"].between(1, least - 1), "few_ratings", None)
    quarters["is_last"] = quarters["c_ratings"] < least
    quarters["c_withheld_because"] = withheld(quarters, quarters["c_ratings"] >= least, least)

    # The year pools its four quarters; less the quarters that are told it must leave nothing, or enough.
    years = told[~is_quarter].copy()
    shown = quarters[(quarters["c_ratings"] > 0) & quarters["c_withheld_because"].isna()]
    of = ["unit_code", "official", "calendar_code"]
    pairs = years.reset_index()[["index", *of, "period_start", "period_end"]].merge(
        shown, on=of, suffixes=("", "_part")
    )
    parts = (pairs["period_start"] <= pairs["period_start_part"]) & (pairs["period_end"] >= pairs["period_end_part"])
    remaining = years["c_ratings"] - pairs[parts].groupby("index")["c_ratings"].sum().reindex(years.index, fill_value=0)
    years["own_reason"] = np.select(
        [years["c_ratings"] == 0, years["c_ratings"] < least, remaining.between(1, least - 1)],
        [None, "few_ratings", "few_in_quarters"],
        None,
    )
    years["is_last"] = years["own_reason"].notna() | (years["c_ratings"] == 0)
    years["c_withheld_because"] = withheld(years, years["own_reason"].isna(), least)

    found = pd.concat([quarters, years], ignore_index=True)
    found["key_id"] = found["official"].str.split(":", n=1).str[0]
    found["is_split_by_key"] = found.groupby(KEYS)["key_id"].transform("nunique") > 1
    found["policy_id"] = rules.policy_id
    found["as_of_batch"] = warehouse.read("select max(batch_id) as batch_id from ops.batch")["batch_id"].iloc[0]
    for index, records in (("a", "a_dossiers"), ("b", "b_dossiers"), ("c", "c_ratings")):
        found[index] = quotients(found[f"{index}_points"], found[records])
    is_told = found["c_withheld_because"].isna()
    found["c"] = found["c"].where(is_told, None)
    for name in ("c_points", "c_ratings"):
        found[name] = found[name].astype("Int64").where(is_told)
    return found


def by_finished_period(
    warehouse: Warehouse, rules: Lookups, w: pd.DataFrame, days: pd.DataFrame, names: pd.Index
) -> pd.DataFrame:
    """Sums of officials in the finished periods in which they are evaluated within their unit."""
    periods = warehouse.read("select calendar_code, period_code, period_kind from rules.publication_calendar")
    due = warehouse.read(
        "select period_kind from rules.evaluation_cadence where evaluator_kind = 'internal' and is_due"
    )
    w = w[~w["before_rule"] & ~w["too_short"]].merge(periods, on=["calendar_code", "period_code"])
    read_until = min(rules.read_until(feed) for feed in ("dossier", "rating"))
    w = w[w["period_kind"].isin(due["period_kind"]) & (w["period_end"] <= read_until)]
    number, sums = pd.Index(rules.units["unit_code"]), []
    for _, of_period in w.groupby("period_code"):
        windows = of_period.set_index(number.get_indexer(of_period["unit_code"]))
        start, end = (days["unit"].map(windows[name]) for name in ("window_start", "window_end"))
        inside = days[(days["event_on"] >= start) & (days["event_on"] < end)]
        counts = inside.groupby(["unit", "official"])[COUNTS].sum().reset_index()
        told = ["period_code", "unit_code", "period_kind", "calendar_code", "period_start", "period_end"]
        sums.append(counts.join(windows[told], on="unit"))
    found = pd.concat(sums, ignore_index=True) if sums else pd.DataFrame(columns=[*days.columns, *w.columns])
    found["official"] = names.take(found["official"].astype(int)).astype(str)
    return found


def withheld(found: pd.DataFrame, is_summed: pd.Series, least: int) -> pd.Series:
    """Why C is not told: few ratings, or so few of the others that the difference would tell them."""
    of_unit = [found[name] for name in KEYS]
    told = found["c_ratings"].where(is_summed, 0).groupby(of_unit).transform("sum")
    left = found["unit_c_ratings"] - told
    ordered = found.sort_values([*KEYS, "is_last", "c_ratings", "official"])
    smallest = ~ordered.duplicated(KEYS).reindex(found.index)
    of_others = (found["c_ratings"] > 0) & smallest & (left > 0) & (left < least)
    return found["own_reason"].mask(found["own_reason"].isna() & of_others, "few_of_others")


def quotients(points: pd.Series, records: pd.Series) -> pd.Series:
    found = [
        rounded(Fraction(p, r), 15) if r else None for p, r in zip(points.tolist(), records.tolist(), strict=True)
    ]  # fmt: skip
    return pd.Series(found, index=points.index, dtype=object)
