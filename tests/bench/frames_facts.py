"""Facts by pandas, as the default policy reads them: what happened to each dossier, what another reading sees otherwise, days.

Frames of dossiers, ratings and entries of lists are those of `frames_core`; `f` has one row per dossier in force, like `d`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tests.bench.frames import ZONE, is_midnight, local
from tests.bench.frames_core import DAY, ON, Lookups, looked_up, recoded, truth, whole

EXCLUSIONS = ["test_record", "finish_before_receipt", "no_due_date", "step_not_finished"]
LATENESS = ["in_time", "within_grace", "late"]
BASES = [
    "own", "attribution=receiving", "due_basis=first", "due_basis=source_current", "due_missing=exclude",
    "midnight_is_date=false", "interlinked=participants",
]  # fmt: skip
NEVER = np.datetime64("NaT")
FLOWS = (
    "received", "resolved", "stopped", "withdrawn", "not_accepted", "without_moment", "became_overdue", "overdue_ended",
    "inherited_overdue",
)  # fmt: skip


def of_base(base: str, rows: int) -> pd.Categorical:
    return pd.Categorical.from_codes(np.full(rows, BASES.index(base), dtype=np.int8), BASES)


def days_of(moments: pd.Series) -> np.ndarray:
    return moments.to_numpy().astype(ON)


def before_or_at(earlier: pd.Series, later: pd.Series, by_day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two moments compared at the coarser precision of the two, and whether both are known."""
    one, other = earlier.to_numpy("M8[us]"), later.to_numpy("M8[us]")
    days = days_of(local(earlier)) <= days_of(local(later))
    return np.where(by_day, days, one <= other), ~(np.isnat(one) | np.isnat(other))


@dataclass(frozen=True)
class Term:
    """When dossiers are due: the day, whether no more is known than that, and the recorded moment."""

    on: np.ndarray
    is_date: np.ndarray
    recorded_at: pd.Series


def term(rules: Lookups, recorded_at: pd.Series, is_date: np.ndarray, limited: np.ndarray) -> Term:
    """`limited`: the day by the procedure's own limit, for dossiers without a recorded due date."""
    recorded = local(recorded_at)
    is_missing = recorded_at.isna().to_numpy()
    on = np.where(is_missing, limited, days_of(recorded))
    ends = rules.calendar.ends(on)
    return Term(ends, is_missing | is_date | ((ends != on) & ~np.isnat(on)), recorded_at)


def by_procedure(rules: Lookups, d: pd.DataFrame, is_missing: np.ndarray, received_is_date: np.ndarray) -> np.ndarray:
    """The procedure's own limit, in working days after the day of receipt; looked up where a due date is missing."""
    found = np.full(len(d), NEVER, dtype=ON)
    m = d.loc[is_missing, ["procedure_code", "received_at", "received_on"]]
    by_day, on = received_is_date[is_missing], days_of(m["received_on"])
    received = local(m["received_at"])
    at_once = looked_up(m["procedure_code"], rules.procedures["is_at_once"]).eq(True).to_numpy(bool)
    limit = looked_up(m["procedure_code"], rules.procedures["limit_working_days"]).to_numpy(float, na_value=np.nan)
    cutoff = pd.Timedelta(rules.parameters["at_once_cutoff"] + ":00")
    afternoon = ((received - m["received_on"]) >= cutoff).to_numpy(float)
    limit = np.where(at_once, np.where(by_day, 0, np.where(np.isnat(on), np.nan, afternoon)), limit)
    number, is_known = rules.calendar.number(on)
    is_known &= ~np.isnan(limit)
    last = rules.calendar.working_day(np.where(is_known, number + np.nan_to_num(limit), 0).astype(np.int64))
    found[is_missing] = np.where(limit == 0, on, last)
    return found


def is_inherited(
    rules: Lookups, unit: np.ndarray, received_on: np.ndarray, due_on: np.ndarray, result_on: np.ndarray
) -> np.ndarray:
    """Overdue already when the unit that gives the result began."""
    began = np.append(days_of(rules.began), NEVER)[unit]
    return (began > received_on) & (began > due_on) & (began <= result_on)


def working_days_late(rules: Lookups, due_on: np.ndarray, result_on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Working days after the due date, up to the day of the result; before the calendar begins none is counted."""
    result, is_known = rules.calendar.number(result_on)
    due, is_due = rules.calendar.number(due_on)
    return (result - np.where(is_due, due, 0)).astype(np.int32), is_known


def is_late(due: Term, result_at: pd.Series, result_is_date: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    on, at, due_at = days_of(local(result_at)), result_at.to_numpy("M8[us]"), due.recorded_at.to_numpy("M8[us]")
    by_day = due.is_date | result_is_date
    is_known = np.where(by_day, ~(np.isnat(on) | np.isnat(due.on)), ~(np.isnat(at) | np.isnat(due_at)))
    return np.where(by_day, on > due.on, at > due_at), is_known


def excluded(is_test: np.ndarray, comes_before_receipt: np.ndarray, due_on: np.ndarray) -> np.ndarray:
    return np.select([is_test, comes_before_receipt, np.isnat(due_on)], [0, 1, 2], -1).astype(np.int8)


def lateness(rules: Lookups, exclusion: np.ndarray, late: np.ndarray, days: np.ndarray) -> np.ndarray:
    grace = int(rules.parameters["a_grace_working_days"])
    return np.select([exclusion >= 0, ~late, days <= grace], [-1, 0, 1], 2).astype(np.int8)


# -- dossiers ----------------------------------------------------------------------------------------------------------


def facts(d: pd.DataFrame, asked: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """fct_dossier, and beside it what readings are compared with: unit, exclusion and lateness by number, recorded due date."""
    outcome = recoded(d["status_code"], rules.dossier_statuses["outcome"])
    is_open = outcome.eq("open").to_numpy()
    result_on, received_on = days_of(d["result_on"]), days_of(d["received_on"])
    judged_on = np.where(is_open, rules.read_until("dossier").to_datetime64().astype(ON) - 1, result_on)
    in_policy = (judged_on >= rules.valid_from.to_datetime64()) & (judged_on < rules.valid_to.to_datetime64())
    received_is_date = d["received_at_is_date"].to_numpy() | (in_policy & is_midnight(local(d["received_at"])))
    result_is_date = d["result_at_is_date"].eq(True).to_numpy(bool, na_value=False)
    result_is_date = result_is_date | (in_policy & is_midnight(local(d["result_at"])).to_numpy())
    received_is_date = received_is_date.to_numpy()

    is_again = in_policy & d["restart_due_at"].notna()
    recorded_at = d["first_due_at"].mask(is_again, d["restart_due_at"])
    recorded_is_date = d["first_due_at_is_date"].mask(is_again, d["restart_due_at_is_date"])
    recorded_is_date = recorded_is_date.to_numpy(bool, na_value=False)
    by_midnight = recorded_is_date | (in_policy & is_midnight(local(recorded_at)).to_numpy())
    is_missing = recorded_at.isna().to_numpy()
    due = term(rules, recorded_at, by_midnight, by_procedure(rules, d, is_missing & in_policy, received_is_date))
    late, late_known = is_late(due, d["result_at"], result_is_date)
    first, first_known = before_or_at(d["received_at"], d["result_at"], received_is_date | result_is_date)
    comes_before = first_known & ~first
    days, days_known = working_days_late(rules, due.on, result_on)
    unit = d["resolving_unit_code"].cat.codes.to_numpy()
    is_test = d["is_test_record"].to_numpy()

    status = d["status_code"].isin(rules.parameters["result_statuses"].split(",")).to_numpy()
    is_result = ~np.isnat(result_on) & in_policy & status & ~is_open
    entered_on = np.where(is_open | ~np.isnat(received_on), received_on, result_on)
    is_ended = outcome.isin(["resolved", "stopped"]).to_numpy() & ~np.isnat(result_on)
    ended_on = np.where(is_ended, np.fmax(received_on, result_on), entered_on)
    ended_on = np.where(is_open | outcome.isna(), NEVER, ended_on)
    due_after = np.fmax(entered_on, due.on)
    may_be_overdue = in_policy & ~is_test & ~np.isnat(due.on)
    is_overdue = (is_open & ~np.isnat(received_on)) | (is_result & ~comes_before & (due_after < result_on))
    due_at = pd.Series(due.on.astype(DAY)).dt.tz_localize(ZONE).dt.tz_convert("UTC")
    exclusion = excluded(is_test, comes_before, due.on)
    basis = np.select([~is_missing & is_again, ~is_missing, ~np.isnat(due.on)], [0, 1, 2], -1)
    limit = looked_up(d["procedure_code"], rules.procedures["permitted_supplements"])
    limit = limit.to_numpy(float, na_value=np.nan)
    permitted = np.where(np.isnan(limit) & in_policy, int(rules.parameters["b_permitted_default"]), limit)
    return pd.DataFrame(
        {
            "dossier_code": d["dossier_code"],
            "policy_id": pd.Categorical.from_codes(np.where(in_policy, 0, -1), [rules.policy_id]),
            "unit_code": d["resolving_unit_code"],
            "status_code": d["status_code"],
            "outcome": outcome,
            "is_result": is_result,
            "is_test_record": is_test,
            "result_on": d["result_on"],
            "first_result_batch_id": d["first_result_batch_id"],
            "entered_on": entered_on.astype(DAY),
            "ended_on": ended_on.astype(DAY),
            "overdue_after": np.where(may_be_overdue & is_overdue, due_after, NEVER).astype(DAY),
            "received_is_date": received_is_date,
            "result_is_date": result_is_date,
            "is_received_first": truth(first, first_known),
            "due_at": recorded_at.mask(due.is_date, due_at).where(in_policy),
            "due_is_date": truth(due.is_date, in_policy),
            "due_on": np.where(in_policy, due.on, NEVER).astype(DAY),
            "due_basis_used": pd.Categorical.from_codes(
                np.where(in_policy, basis, -1), ["supplement", "first", "procedure"]
            ),
            "is_late": truth(late, late_known),
            "working_days_late": whole(days, days_known),
            "is_inherited_overdue": in_policy & is_inherited(rules, unit, received_on, due.on, result_on),
            "return_count": returns(d, asked, received_is_date, result_is_date, True) * in_policy,
            "permitted_returns": whole(np.nan_to_num(permitted).astype(np.int32), ~np.isnan(permitted)),
            "recorded_due_at": recorded_at,
            "recorded_due_is_date": recorded_is_date,
            "comes_before": comes_before,
            "exclusion": exclusion,
            "lateness": lateness(rules, exclusion, late, np.where(days_known, days, np.iinfo(np.int32).max)),
        }
    )


def returns(
    d: pd.DataFrame, asked: pd.DataFrame, received_is_date: np.ndarray, result_is_date: np.ndarray, midnight: bool
) -> np.ndarray:
    """Distinct requests for supplement between receipt and result. `midnight`: a midnight is a day."""
    a = asked[asked["is_return"] & asked["requested_at"].notna()]
    row = a["row"].to_numpy()
    received_at, result_at = (d[name].take(row).set_axis(a.index) for name in ("received_at", "result_at"))
    by_day = a["requested_at_is_date"].to_numpy()
    if midnight:
        by_day = by_day | is_midnight(local(a["requested_at"])).to_numpy()
    after, _ = before_or_at(received_at, a["requested_at"], by_day | received_is_date[row])
    before, _ = before_or_at(a["requested_at"], result_at, by_day | result_is_date[row])
    counted = a.loc[(after | received_at.isna().to_numpy()) & before, ["row", "supplement_id"]]
    counted = counted.dropna().drop_duplicates()
    return np.bincount(counted["row"], minlength=len(d)).astype(np.int32)


# -- readings ----------------------------------------------------------------------------------------------------------


def a_readings(d: pd.DataFrame, f: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """fct_a_reading by number: `row`, base_code, unit, and what index A sees under each reading that sees it otherwise."""
    two_dates = (d["first_due_at"] != d["source_due_at"]) & (d["first_due_at"].notna() | d["source_due_at"].notna())
    source_is_date = d["source_due_at_is_date"].to_numpy()
    two_precisions = d["first_due_at_is_date"].isna() | d["first_due_at_is_date"].ne(source_is_date)
    result_at_is_date = d["result_at_is_date"].to_numpy(bool, na_value=False)
    is_seen = f["is_result"].to_numpy() & (
        (d["receiving_unit_code"].cat.codes != d["resolving_unit_code"].cat.codes).to_numpy()
        | (f["due_basis_used"] == "procedure").to_numpy()
        | (f["received_is_date"] != d["received_at_is_date"]).to_numpy()
        | (f["result_is_date"].to_numpy() != result_at_is_date)
        | f["due_is_date"].to_numpy(bool, na_value=False)
        | d["restart_due_at"].notna().to_numpy()
        | two_dates.to_numpy()
        | two_precisions.to_numpy(bool, na_value=True)
    )
    rows = np.flatnonzero(is_seen)
    d, f = d.take(rows), f.take(rows)
    s = Seen(rows, d, f, rules)
    return pd.concat(
        [s.first_date(), s.source_date(), s.receiving_unit(), s.without_limit(), s.by_the_clock()], ignore_index=True
    )


class Seen:
    """Results that a reading may see otherwise; each method gives those that one reading does see otherwise."""

    def __init__(self, rows: np.ndarray, d: pd.DataFrame, f: pd.DataFrame, rules: Lookups) -> None:
        self._rows, self._d, self._f, self._rules = rows, d, f, rules
        self._unit = d["resolving_unit_code"].cat.codes.to_numpy()
        self._due_on = days_of(f["due_on"])
        self._is_test = f["is_test_record"].to_numpy()
        self._exclusion = f["exclusion"].to_numpy()
        self._late = f["is_late"].to_numpy(bool, na_value=False)

    def first_date(self) -> pd.DataFrame:
        is_other = self._d["restart_due_at"].notna().to_numpy()
        return self._moved("due_basis=first", is_other, "first_due_at", "first_due_at_is_date")

    def source_date(self) -> pd.DataFrame:
        source, held = self._d["source_due_at"], self._f["recorded_due_at"]
        is_other = ((source != held) & (source.notna() | held.notna())).to_numpy()
        is_other = is_other | held.isna().to_numpy()
        is_other = is_other | (self._d["source_due_at_is_date"] != self._f["recorded_due_is_date"]).to_numpy()
        return self._moved("due_basis=source_current", is_other, "source_due_at", "source_due_at_is_date")

    def _moved(self, base: str, is_other: np.ndarray, due_at: str, due_is_date: str) -> pd.DataFrame:
        d, f = self._d[is_other], self._f[is_other]
        is_date = d[due_is_date].to_numpy(bool, na_value=False) | is_midnight(local(d[due_at])).to_numpy()
        limited = by_procedure(self._rules, d, d[due_at].isna().to_numpy(), f["received_is_date"].to_numpy())
        due = term(self._rules, d[due_at], is_date, limited)
        late, _ = is_late(due, d["result_at"], f["result_is_date"].to_numpy())
        exclusion = excluded(self._is_test[is_other], f["comes_before"].to_numpy(), due.on)
        return self._otherwise(base, is_other, self._unit[is_other], due.on, exclusion, late)

    def receiving_unit(self) -> pd.DataFrame:
        unit = self._d["receiving_unit_code"].cat.codes.to_numpy()
        m = unit != self._unit
        return self._otherwise(
            "attribution=receiving", m, unit[m], self._due_on[m], self._exclusion[m], self._late[m]
        )  # fmt: skip

    def without_limit(self) -> pd.DataFrame:
        m = (self._f["due_basis_used"] == "procedure").to_numpy()
        no_due_date = np.full(m.sum(), NEVER, dtype=ON)
        exclusion = np.where(self._exclusion[m] < 0, 2, self._exclusion[m])
        return self._otherwise("due_missing=exclude", m, self._unit[m], no_due_date, exclusion, self._late[m])

    def by_the_clock(self) -> pd.DataFrame:
        d, f = self._d, self._f
        result_is_date = d["result_at_is_date"].to_numpy(bool, na_value=False)
        m = (f["received_is_date"] != d["received_at_is_date"]).to_numpy()
        m = m | (f["result_is_date"].to_numpy() != result_is_date)
        m = m | f["due_is_date"].to_numpy(bool, na_value=False)
        d, f, result_is_date, due_on = d[m], f[m], result_is_date[m], self._due_on[m]
        first, is_known = before_or_at(
            d["received_at"], d["result_at"], d["received_at_is_date"].to_numpy() | result_is_date
        )
        recorded = f["recorded_due_at"]
        is_date = recorded.isna() | f["recorded_due_is_date"] | (due_on != days_of(local(recorded)))
        late, _ = is_late(Term(due_on, is_date.to_numpy(), recorded), d["result_at"], result_is_date)
        exclusion = excluded(self._is_test[m], is_known & ~first, due_on)
        return self._otherwise("midnight_is_date=false", m, self._unit[m], due_on, exclusion, late)

    def _otherwise(
        self,
        base: str,
        chosen: np.ndarray,
        unit: np.ndarray,
        due_on: np.ndarray,
        exclusion: np.ndarray,
        late: np.ndarray,
    ) -> pd.DataFrame:
        """`chosen`: whom the others are told of."""
        d, f = self._d[chosen], self._f[chosen]
        result_on = days_of(d["result_on"])
        days, is_known = working_days_late(self._rules, due_on, result_on)
        days = np.where(is_known, days, np.iinfo(np.int32).max)
        found = pd.DataFrame(
            {
                "row": self._rows[chosen],
                "base_code": of_base(base, len(unit)),
                "unit": unit,
                "inherited": is_inherited(self._rules, unit, days_of(d["received_on"]), due_on, result_on),
                "exclusion": exclusion,
                "lateness": lateness(self._rules, exclusion, late, days),
            }
        )
        own = {"unit": self._unit[chosen], "inherited": f["is_inherited_overdue"].to_numpy()}
        own |= {name: f[name].to_numpy() for name in ("exclusion", "lateness")}
        is_other = np.logical_or.reduce([found[name].to_numpy() != values for name, values in own.items()])
        return found[is_other]


def of_readings(found: pd.DataFrame, f: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """Readings by number with the columns that the tables of A have."""
    of = f.take(found["row"].to_numpy()).reset_index(drop=True)
    found = found.reset_index(drop=True)
    named = {
        "unit_code": rules.as_units(found["unit"].to_numpy()),
        "own_unit_code": of["unit_code"],
        "result_on": of["result_on"],
        "status_code": of["status_code"],
        "policy_id": of["policy_id"],
    }
    if "exclusion" in found:
        named["is_inherited_overdue"] = found["inherited"]
        named["exclusion_reason"] = pd.Categorical.from_codes(found["exclusion"], EXCLUSIONS)
        named["lateness"] = pd.Categorical.from_codes(found["lateness"], LATENESS)
    else:
        named["permitted_returns"] = of["permitted_returns"]
    return found.assign(**named)


def b_readings(d: pd.DataFrame, f: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """fct_b_reading by number. Where midnights are moments, only the order of receipt, requests and result may change."""
    own = {"unit": d["resolving_unit_code"].cat.codes.to_numpy(), "is_excluded": is_excluded(f)}
    own["return_count"] = f["return_count"].to_numpy()
    receiving = d["receiving_unit_code"].cat.codes.to_numpy()
    received_is_date = d["received_at_is_date"].to_numpy()
    result_is_date = d["result_at_is_date"].to_numpy(bool, na_value=False)
    first, is_known = before_or_at(d["received_at"], d["result_at"], received_is_date | result_is_date)
    clock = own | {
        "is_excluded": f["is_test_record"].to_numpy() | (is_known & ~first),
        "return_count": returns(d, asked, received_is_date, result_is_date, False),
    }
    is_result, found = f["is_result"].to_numpy(), []
    for base, read in (("attribution=receiving", own | {"unit": receiving}), ("midnight_is_date=false", clock)):
        is_other = np.logical_or.reduce([read[name] != values for name, values in own.items()])
        rows = np.flatnonzero(is_other & is_result)
        found.append(
            pd.DataFrame(
                {"row": rows, "base_code": of_base(base, len(rows))} | {name: read[name][rows] for name in own}
            )
        )
    return pd.concat(found, ignore_index=True)


def is_excluded(f: pd.DataFrame) -> np.ndarray:
    """From index B: a dossier without a due date was guided all the same."""
    return (f["is_test_record"] | f["comes_before"]).to_numpy()


def a_participants(steps: pd.DataFrame, d: pd.DataFrame, f: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """fct_a_participant by number: a unit's own step by the step's own limit, where the dossier has its result."""
    s = steps[f["is_result"].to_numpy()[steps["row"]]]
    # A participation told twice is one step: the entry that finished last.
    s = s.sort_values(
        ["row", "participant_id", "finished_at", "due_at", "received_at", "participant_no"],
        ascending=[True, True, False, True, True, True],
    )
    s = s.drop_duplicates(["row", "participant_id"]).sort_values(["row", "participant_no"], ignore_index=True)
    own = f.take(s["row"].to_numpy()).reset_index(drop=True)
    received_is_date = s["received_at_is_date"].to_numpy() | is_midnight(local(s["received_at"])).to_numpy()
    result_is_date = s["finished_at_is_date"].to_numpy() | is_midnight(local(s["finished_at"])).to_numpy()
    due_is_date = s["due_at_is_date"].to_numpy() | is_midnight(local(s["due_at"])).to_numpy()
    # What the procedure allows is for the whole of the dossier: a step without a limit has none.
    due = term(rules, s["due_at"], due_is_date, np.full(len(s), NEVER, dtype=ON))
    late, _ = is_late(due, s["finished_at"], result_is_date)
    first, is_known = before_or_at(s["received_at"], s["finished_at"], received_is_date | result_is_date)
    result_on = days_of(local(s["finished_at"]))
    days, days_known = working_days_late(rules, due.on, result_on)
    is_test = own["is_test_record"].to_numpy()
    exclusion = excluded(is_test, is_known & ~first, due.on)
    exclusion = np.where(np.isnat(result_on) & ~is_test, 3, exclusion).astype(np.int8)
    unit = s["unit_code"].cat.codes.to_numpy()
    found = pd.DataFrame(
        {
            "row": s["row"],
            "participant_no": s["participant_no"],
            "base_code": of_base("interlinked=participants", len(s)),
            "unit": unit,
            "inherited": is_inherited(rules, unit, days_of(local(s["received_at"])), due.on, result_on),
            "exclusion": exclusion,
            "lateness": lateness(rules, exclusion, late, np.where(days_known, days, np.iinfo(np.int32).max)),
        }
    )
    is_own = (unit == own["unit_code"].cat.codes.to_numpy()) & (unit >= 0)
    found["is_for_dossier"] = is_own & ~found.duplicated(["row", "unit"]).to_numpy()
    return found


# -- days --------------------------------------------------------------------------------------------------------------

A_CASE = ["unit", "result_on", "base_code", "status_code", "lateness", "inherited"]
B_CASE = ["unit", "result_on", "base_code", "status_code", "is_excluded", "return_count", "permitted_returns"]


def own_cases(f: pd.DataFrame) -> pd.DataFrame:
    """The policy's own cases of A and B, those of dossiers without a result among them."""
    return pd.DataFrame(
        {
            "unit": f["unit_code"].cat.codes,
            "result_on": f["result_on"],
            "base_code": of_base("own", len(f)),
            "status_code": f["status_code"],
            "lateness": f["lateness"],
            "inherited": f["is_inherited_overdue"],
            "is_excluded": is_excluded(f),
            "return_count": f["return_count"],
            "permitted_returns": f["permitted_returns"],
        }
    )


def counted(cases: list[tuple[pd.DataFrame, int]], by: list[str], rules: Lookups) -> pd.DataFrame:
    """Cases of a unit, day and kind; each frame's rows count as often as is said beside it."""
    sums = []
    for found, times in cases:
        held = found[found["unit"] >= 0]
        sums.append((held.groupby(by, observed=True, sort=False).size() * times).rename("dossiers").reset_index())
    total = pd.concat(sums).groupby(by, observed=True, sort=False)["dossiers"].sum()
    total = total[total != 0].reset_index()
    return total.assign(unit_code=rules.as_units(total["unit"].to_numpy()), event_on=total["result_on"])


def a_cases(
    own: pd.DataFrame, is_result: np.ndarray, readings: pd.DataFrame, steps: pd.DataFrame, rules: Lookups
) -> pd.DataFrame:
    """fct_unit_day_a_case: the policy's own cases, and what each reading adds to them and takes away."""
    cases = [(own[is_result], 1)]
    for found, taken in ((readings, readings), (steps, steps[steps["is_for_dossier"]])):
        cases += [
            (as_cases(found, own), 1),
            (own.take(taken["row"].to_numpy()).assign(base_code=taken["base_code"].array), -1),
        ]
    total = counted(cases, A_CASE, rules)
    late = np.array([*LATENESS, "excluded"])[total["lateness"].to_numpy()]
    return total.assign(lateness=pd.Categorical(late), is_inherited_overdue=total["inherited"])


def b_cases(own: pd.DataFrame, is_result: np.ndarray, readings: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """fct_unit_day_b_case likewise."""
    taken = own.take(readings["row"].to_numpy()).assign(base_code=readings["base_code"].array)
    return counted([(own[is_result], 1), (as_cases(readings, own), 1), (taken, -1)], B_CASE, rules)


def as_cases(found: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """What readings see, the rest as the policy sees it."""
    told = own.take(found["row"].to_numpy())
    return told.assign(**{name: found[name].array for name in found.columns if name in told.columns})


def c_cases(r: pd.DataFrame, d: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """fct_unit_day_c_case: ratings of one dossier on one day stand singly where one of them may stand in another's way."""
    row = r["row"].to_numpy()
    has_result = np.append(d["result_at"].notna().to_numpy(), False)[row]
    status = np.append(d["status_code"].cat.codes.to_numpy(), np.int8(-1))[row]
    c = pd.DataFrame(
        {
            "unit_code": named(r["unit_code"]),
            "event_on": r["rated_on"],
            "question_code": named(named(r["question_code"], "other").mask(~r["has_question"])),
            "is_city_system": looked_up(r["channel_code"], rules.city_channels).eq(True).fillna(False),
            "status_code": named(
                pd.Series(pd.Categorical.from_codes(np.where(has_result, status, -1), d["status_code"].cat.categories))
            ),
            "level_class": named(r["level_class"]),
        }
    )
    day = ["dossier_code", "rated_on"]
    again = r[r["dossier_code"].notna() & r.duplicated(day, keep=False)]
    again = again.sort_values(["rated_at", "rating_id"], ascending=False)
    recency = again.groupby(day).cumcount() + 1
    question = again["question_code"].astype(object).where(again["question_code"].notna(), "")
    is_same = again.assign(question=question).duplicated([*day, "question"], keep=False)
    stands_in_the_way = (~again["has_question"]).groupby([again[name] for name in day]).transform("any")
    singly = again.index[is_same | stands_in_the_way]
    one_by_one = c.loc[singly].assign(
        dossier_code=again.loc[singly, "dossier_code"], recency=recency[singly], ratings=1
    )
    alone = (
        c.drop(index=singly).groupby(list(c.columns), sort=False, observed=True).size().rename("ratings").reset_index()
    )
    return pd.concat([alone.assign(dossier_code="", recency=0), one_by_one], ignore_index=True)


def named(codes: pd.Series, missing: str = "") -> pd.Series:
    """A categorical that calls what has no category `missing`."""
    return codes.cat.add_categories([missing]).fillna(missing)


def flows(f: pd.DataFrame) -> pd.DataFrame:
    """fct_unit_day_flow: each dossier on the days that something happened to it: it came in, it ended, it became overdue."""
    is_open = f["outcome"].eq("open")
    f = f[~f["is_test_record"] & f["outcome"].notna() & (~is_open | f["policy_id"].notna()) & f["unit_code"].notna()]
    ended = named(f["outcome"], "without_moment")
    at_once = ended.mask(f["outcome"].isin(["resolved", "stopped"]) & f["result_on"].isna(), "without_moment")
    is_late_at_end = f["is_result"] & f["overdue_after"].notna()
    is_inherited_at_end = f["is_result"] & f["is_inherited_overdue"] & ~f["comes_before"]
    later = (f["ended_on"] == f["result_on"]) & (f["ended_on"] != f["entered_on"])
    counts = [
        events(f, "entered_on", f["entered_on"].notna(), "received"),
        events(f, "entered_on", f["ended_on"] == f["entered_on"], at_once),
        events(f, "result_on", later, ended),
        events(f, "overdue_after", f["overdue_after"].notna(), "became_overdue"),
        events(f, "result_on", is_late_at_end, "overdue_ended"),
        events(f, "result_on", is_inherited_at_end, "inherited_overdue"),
    ]
    total = pd.concat(counts, axis=0).groupby(["unit_code", "event_on", "event"]).sum().unstack(fill_value=0)
    return total.reindex(columns=list(FLOWS), fill_value=0).reset_index()


def events(f: pd.DataFrame, day: str, holds: pd.Series, event: str | pd.Series) -> pd.Series:
    """How often something happened by unit and day; `event`: what, or what to each."""
    m = holds.to_numpy()
    by = [f["unit_code"][m], f[day][m].rename("event_on")]
    if isinstance(event, pd.Series):
        by.append(event[m].rename("event"))
    counts = by[0].groupby(by, observed=True, sort=False).size().rename("n").reset_index()
    if isinstance(event, str):
        counts["event"] = event
    counts = counts.astype({"unit_code": str, "event": str})
    return counts.set_index(["unit_code", "event_on", "event"])["n"]


def overdue_long(f: pd.DataFrame, rules: Lookups) -> pd.DataFrame:
    """fct_unit_day_overdue_long: days on which dossiers became long overdue, or got their result being so."""
    is_late_result = f["is_result"] & (f["result_on"] > f["due_on"]) & (f["exclusion"] < 0)
    is_open = f["outcome"].eq("open") & f["policy_id"].notna() & f["entered_on"].notna() & ~f["is_test_record"]
    p = f.loc[(is_late_result | is_open) & f["unit_code"].notna() & f["due_on"].notna()]
    number, is_known = rules.calendar.number(days_of(p["due_on"]))
    since = rules.calendar.working_day(number.astype(np.int64) + int(rules.parameters["overdue_long_days"]) + 1)
    result_on = np.where(p["is_result"], days_of(p["result_on"]), NEVER)
    is_long = is_known & ~np.isnat(since) & (np.isnat(result_on) | (since < result_on))
    unit, since, result_on = p["unit_code"][is_long], since[is_long], result_on[is_long]
    became = pd.DataFrame({"unit_code": unit, "event_on": since.astype(DAY), "became_overdue_long": 1})
    ended = pd.DataFrame({"unit_code": unit, "event_on": result_on.astype(DAY), "overdue_long_ended": 1})
    events = pd.concat([became, ended.dropna()])
    return events.groupby(["unit_code", "event_on"], observed=True).sum().astype(np.int64).reset_index()
