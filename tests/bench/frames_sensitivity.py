"""K under every combination of legal readings, by pandas: which verdicts, values and ranks hang on them.

K is a sum: least and greatest add up index by index, and only where a verdict flips combinations are looked for. Values are whole
numbers of 10^-17, cut off; where they are rounded, the tail goes first, as the build does at its thirtieth decimal.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from tests.bench.frames import Warehouse
from tests.bench.frames_core import Lookups
from tests.bench.frames_readings import SCALE, Set

ONE = 10**SCALE
STEPS = ("A", "B", "C", "D", "E")


def k_sensitivity(
    warehouse: Warehouse, w: pd.DataFrame, read: pd.DataFrame, sets: list[Set], rules: Lookups
) -> pd.DataFrame:
    """k_sensitivity. `read`: the readings of the windows `w`, by their number."""
    duty = rules.duties.loc["K"]
    owes = pd.Series(True, index=w.index)
    if not duty["owed_by_sub_unit"]:
        owes &= w["parent_unit_code"].isna()
    if not duty["owed_by_receiving_unit"]:
        owes &= ~w["is_receiving_only"]
    values = exact_values(read[owes.to_numpy()[read["window"]]], sets, rules)
    voting = values[values["kind"].isin(["own", "legal_gap"])]
    judged = judge(extremes(voting), [s for s in sets if s.index == "K"], rules)
    own = judged[judged["size"] == 0].set_index("window")
    found = own[["k", "verdict"]].copy()
    spread = judged.groupby("window")["k"].agg(["min", "max"])
    found["k_min"], found["k_max"] = spread["min"], spread["max"]
    ranks = ranked(voting, w, rules)
    found["rank_min"], found["rank_max"] = ranks["min"], ranks["max"]
    found = found.join(flips(voting, judged, found["verdict"]))
    found = found.join(apart(values, sets, found, rules))
    held = found["verdict"].notna()
    found["verdict_stability"] = np.select([~held, found["flipping_size"].isna()], [None, "stable"], "depends")
    for name in ("k", "k_min", "k_max", "method_k_min", "method_k_max"):
        found[name] = [None if pd.isna(k) else Decimal(int(k)).scaleb(-6) for k in found[name]]
    found["not_computed"] = not_computed(warehouse, rules)
    found["policy_id"] = rules.policy_id
    return w[["period_code", "unit_code"]].join(found, how="inner").reset_index(drop=True)


def exact_values(read: pd.DataFrame, sets: list[Set], rules: Lookups) -> pd.DataFrame:
    """Every index under every set of readings: `value`, or what is `missing` of K at most. A, B and C must read results alike."""
    results = {(s.index, s.code): s["result_statuses"] if s.index in "ABC" else "" for s in sets}
    maxima = {index: int(rules.number(f"{index.lower()}_max") * ONE) for index in STEPS}
    is_scored = read["status"] == "scored"
    found = read[["window", "index_code", "set_code", "kind", "size"]].copy()
    found["value"] = read["scaled"].where(is_scored, 0).astype(np.int64)
    found["missing"] = read["index_code"].map(maxima).where(~is_scored, 0).astype(np.int64)
    found["results"] = [results[pair] for pair in zip(read["index_code"], read["set_code"], strict=True)]
    return found


def extremes(voting: pd.DataFrame) -> pd.DataFrame:
    """By window, number of readings and what is missing: the least and the greatest sum."""
    of = ["window", "index_code", "results", "value", "missing"]
    choices = voting.groupby(of, sort=False)["size"].min().reset_index()
    by = ["window", "results", "size", "missing"]
    sums = choices[choices["index_code"] == "A"].groupby(by, sort=False)["value"].agg(["min", "max"]).reset_index()
    for index in STEPS[1:]:
        more = choices[choices["index_code"] == index]
        on = ["window", "results"] if index in "BC" else ["window"]
        both = sums.merge(more.drop(columns=[] if index in "BC" else ["results"]), on=on, suffixes=("", "_more"))
        both["min"] += both["value"]
        both["max"] += both["value"]
        both["size"] += both["size_more"]
        both["missing"] += both["missing_more"]
        by = ["window", "results", "size", "missing"] if index == "B" else ["window", "size", "missing"]
        sums = both.groupby(by, sort=False).agg({"min": "min", "max": "max"}).reset_index()
    found = sums.melt(id_vars=["window", "size", "missing"], value_vars=["min", "max"], value_name="present")
    return found.drop(columns="variable").drop_duplicates()


def rounded(present: np.ndarray, scale: int) -> np.ndarray:
    """Half away from zero, to `scale` decimals, in millionths."""
    plain = (present + 50) // 100
    step = 10 ** (SCALE - 2 - scale)
    return (plain + step // 2) // step * 10 ** (6 - scale)


def k_of(found: pd.DataFrame, missing_index: str, scale: int, rules: Lookups) -> pd.Series:
    """K in millionths, NA where the reading wants all indices."""
    whole = sum(int(rules.number(f"{index.lower()}_max") * ONE) for index in STEPS)
    present, missing = found["present"].to_numpy(), found["missing"].to_numpy()
    k = pd.Series(rounded(present, scale), index=found.index, dtype="Int64")
    if missing_index == "zero":
        return k
    k = k.where(missing == 0)
    if missing_index == "rescale":
        stretched = (missing > 0) & (missing < whole)
        told = zip(present[stretched].tolist(), missing[stretched].tolist(), strict=True)
        values = np.array([value * whole // (whole - gone) for value, gone in told], dtype=np.int64)
        k[stretched] = rounded(values, scale)
    return k


def judge(found: pd.DataFrame, of_k: list[Set], rules: Lookups) -> pd.DataFrame:
    """Sums under each reading of K itself: K and verdict; `size` counts those readings too, `index_size` does not."""
    judged = [
        found.assign(
            index_size=found["size"],
            size=found["size"] + s.size,
            k_set=s.code,
            k=k_of(found, s["missing_index"], int(s["k_scale"]), rules),
            k_equal=s["k_equal"],
        )
        for s in of_k
        if s.kind in ("own", "legal_gap")
    ]
    every = pd.concat(judged, ignore_index=True)
    return every.assign(verdict=verdicts(every["k"], every["k_equal"], rules))


def verdicts(k: pd.Series, k_equal: pd.Series | str, rules: Lookups) -> pd.Series:
    threshold = int(rules.number("k_threshold") * 10**6)
    told = np.select(
        [k.isna(), k.gt(threshold).fillna(False), k.lt(threshold).fillna(False)],
        [None, "satisfied", "not_satisfied"],
        k_equal,
    )
    return pd.Series(told, index=k.index, dtype=object)


def is_other(verdict: pd.Series, own: pd.Series) -> pd.Series:
    """Whether a verdict, or none, is another than the one that stands."""
    return own.notna() & (verdict.fillna("") != own.fillna(""))


def flips(voting: pd.DataFrame, judged: pd.DataFrame, own: pd.Series) -> pd.DataFrame:
    """The fewest readings that give another verdict, or none, and which they are."""
    others = judged[is_other(judged["verdict"], judged["window"].map(own))]
    first = others.sort_values(["window", "size", "k_set", "present", "missing"]).drop_duplicates("window")
    options: dict[int, dict[str, list[Any]]] = {window: {index: [] for index in STEPS} for window in first["window"]}
    for row in voting[voting["window"].isin(first["window"])].itertuples(index=False):
        options[row.window][row.index_code].append(row)
    rows = []
    for flip in first.itertuples(index=False):
        target = (flip.index_size, flip.missing, flip.present)
        chosen = min(" + ".join(codes) for codes in combinations(list(options[flip.window].values()), target))
        readings = {*f"{chosen} + {flip.k_set}".split(" + ")} - {"own"}
        rows.append((flip.window, " + ".join(sorted(readings)), flip.size, flip.verdict or "none"))
    names = ["window", "flipping_readings", "flipping_size", "flipped_verdict"]
    return pd.DataFrame(rows, columns=names).set_index("window").astype({"flipping_size": "Int64"})


def combinations(options: list[list[Any]], target: tuple[int, int, int]) -> Iterator[tuple[str, ...]]:
    """Sets of A to E that add up to so many readings, so much missing and so much of K."""

    def more(step: int, results: str, size: int, missing: int, present: int) -> Iterator[tuple[str, ...]]:
        if step == len(options):
            if (size, missing, present) == target:
                yield ()
            return
        for s in options[step]:
            together = size + s.size
            if together > target[0] or present + s.value > target[2] or (step in (1, 2) and s.results != results):
                continue
            for rest in more(step + 1, s.results, together, missing + s.missing, present + s.value):
                yield (s.set_code, *rest)

    return more(0, "", 0, 0, 0)


def ranked(voting: pd.DataFrame, w: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """The best and the worst rank of each unclipped window, over all readings that its group may be read by."""
    voting = voting[w["window_clipped"].isna().to_numpy()[voting["window"]]]
    groups = w.groupby(["period_code", "peer_group"]).ngroup()
    found = []
    for _, of_group in voting.groupby(groups.take(voting["window"].to_numpy()).to_numpy()):
        windows = np.unique(of_group["window"])
        least, most = np.full(len(windows), len(windows) + 1), np.zeros(len(windows), dtype=np.int64)
        of = dict(list(of_group.groupby(["index_code", "results"])))
        if not all(any(index == held for held, _ in of) for index in STEPS):
            continue
        de = crossed(distinct(of["D", ""], windows), distinct(of["E", ""], windows))
        for results in [results for index, results in of if index == "A"]:
            a, b, c = (distinct(of[index, results], windows) for index in "ABC")
            values, is_held = crossed(crossed(a, b), c)
            for more, is_more in zip(*de, strict=True):
                rank = ranks(values + more, is_held & is_more, int(rules.parameters["rank_scale"]))
                held = is_held & is_more
                least = np.minimum(least, np.where(held, rank, least).min(axis=0))
                most = np.maximum(most, np.where(held, rank, 0).max(axis=0))
        told = pd.DataFrame({"min": least, "max": most}, index=windows)
        found.append(told[told["max"] > 0])
    return pd.concat(found).astype("Int64")


def distinct(values: pd.DataFrame, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row per way in which an index of these windows may come out, and where it comes out at all."""
    sets = pd.factorize(values["set_code"])[0]
    found = np.full((sets.max() + 1, len(windows)), -1, dtype=np.int64)
    found[sets, np.searchsorted(windows, values["window"])] = values["value"].where(values["missing"] == 0, -1)
    found = np.unique(found, axis=0)
    return np.maximum(found, 0), found >= 0


def crossed(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Every row of one with every row of the other."""
    values = one[0][:, None] + other[0][None]
    is_held = one[1][:, None] & other[1][None]
    return values.reshape(-1, values.shape[-1]), is_held.reshape(-1, values.shape[-1])


def ranks(present: np.ndarray, is_held: np.ndarray, scale: int) -> np.ndarray:
    """By row: the places of the sums, those that are equal when rounded share one; what is not held takes none."""
    step = 10 ** (6 - scale)
    k = np.where(is_held, (rounded(present, 6) + step // 2) // step, -1)
    order = np.argsort(-k, axis=1)
    ordered = np.take_along_axis(k, order, axis=1)
    place = np.arange(k.shape[1])
    is_new = np.concatenate([np.ones((len(k), 1), dtype=bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    first = np.maximum.accumulate(np.where(is_new, place, 0), axis=1) + 1
    found = np.empty_like(first)
    np.put_along_axis(found, order, first, axis=1)
    return found


def apart(values: pd.DataFrame, sets: list[Set], found: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """Our own choices, one by one: an index that the reading does not touch stays as it is."""
    touched: dict[str, set[str]] = {}
    for s in sets:
        if s.kind in ("method", "shown_only"):
            touched.setdefault(s.code, set()).add(s.index)
    told = []
    for code, indices in sorted(touched.items()):
        stays = (values["kind"] == "own") & ~values["index_code"].isin(indices)
        sums = values[stays | (values["set_code"] == code)].groupby("window")[["value", "missing"]].sum()
        sums = sums.rename(columns={"value": "present"})
        k = k_of(sums, rules.parameters["missing_index"], int(rules.parameters["k_scale"]), rules)
        verdict = verdicts(k, rules.parameters["k_equal"], rules)
        flips = is_other(verdict, found["verdict"].reindex(k.index))
        told.append(pd.DataFrame({"k": k, "flip": np.where(flips, code, None)}).reset_index())
    every = pd.concat(told, ignore_index=True)
    result = every.groupby("window")["k"].agg(method_k_min="min", method_k_max="max")
    own = found["k"].reindex(result.index)
    result["method_k_min"] = pd.concat([result["method_k_min"], own], axis=1).min(axis=1)
    result["method_k_max"] = pd.concat([result["method_k_max"], own], axis=1).max(axis=1)
    flipping = every.dropna(subset=["flip"]).groupby("window")["flip"].agg("; ".join)
    return result.assign(method_flips=flipping)


def not_computed(warehouse: Warehouse, rules: Lookups) -> str | None:
    readings = warehouse.read("select * from rules.scoring_reading order by parameter, value")
    results = set(rules.parameters["result_statuses"].split(","))
    told = [
        f"{r['parameter']}={r['value']}"
        for r in readings.to_dict("records")
        if not pd.isna(r["not_computed"])
        or (r["parameter"] == "result_statuses" and not set(r["value"].split(",")) <= results)
    ]
    return "; ".join(told) or None
