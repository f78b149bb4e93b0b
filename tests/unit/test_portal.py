"""Asking the portal: which windows of which group, the two APIs, paging without a total, and what counts as answered whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest

from hailong.contracts import PortalWindows, load_contracts
from hailong.errors import PermanentError, TransientError
from hailong.extract.http import Client, RetryPolicy, StartOver
from hailong.extract.portal import LEGACY_GROUPS, Question, Snapshots, questions
from hailong.settings import PROJECT, Source

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
RULES = PROJECT / "dbt_project"
AT = datetime(2026, 11, 1, 1, tzinfo=UTC)
ROOT = "019d2be3-0000"
CONNECTOR = PortalWindows(
    system="portal", path="/evaluation", group="handling-satisfaction", root_department_id=ROOT, page_size=3,
    metric_version="2026", calendar_groups=("transparency", "dossier-digitized"), legacy_path="/jsp/rest.jsp",
    legacy_service="report_tinh_766_service", legacy_metric_version="2025", legacy_until="2026-01-01",
)  # fmt: skip
RETRY = RetryPolicy(attempts=3, timeout=20, wait_initial=0.001, wait_max=0.002)


def local(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=ZONE)


def asked(since: datetime, until: datetime, connector: PortalWindows = CONNECTOR) -> set[tuple[str, str, str, str]]:
    found = questions(connector, RULES, since, until)
    assert len(found) == len(set(found))
    return {(q.group, q.window.first.isoformat(), q.window.last.isoformat(), q.style) for q in found}


# -- what is asked -------------------------------------------------------------------------------------------------------


def test_the_satisfaction_group_is_asked_for_our_own_windows_the_others_for_those_of_the_calendar() -> None:
    found = asked(local(2026, 10, 20), local(2026, 10, 21))
    assert {q[1:] for q in found if q[0] == "handling-satisfaction"} == {
        ("2026-10-15", "2026-11-14", "days"),
        ("2026-09-15", "2026-12-14", "days"),
        ("2025-12-15", "2026-12-14", "days"),
    }
    for group in ("transparency", "dossier-digitized"):
        assert {q[1:] for q in found if q[0] == group} == {
            ("2026-10-01", "2026-10-31", "calendar"),
            ("2026-10-01", "2026-12-31", "calendar"),
            ("2026-01-01", "2026-12-31", "calendar"),
        }
    assert len(found) == 9


def test_the_end_of_a_window_is_exclusive() -> None:
    months = {q[1] for q in asked(local(2026, 10, 14), local(2026, 10, 15)) if q[3] == "days"}
    assert "2026-10-15" not in months
    assert "2026-10-15" in {q[1] for q in asked(local(2026, 10, 14), local(2026, 10, 15).replace(second=1))}


def test_windows_of_the_old_method_are_asked_from_the_old_api() -> None:
    found = asked(local(2025, 12, 1), local(2026, 1, 2))
    old = {q[1:3] for q in found if q[3] == "legacy"}
    assert old == {("2025-12-01", "2025-12-31"), ("2025-10-01", "2025-12-31"), ("2025-01-01", "2025-12-31")}
    assert all(q[2] >= "2026-01-01" for q in found if q[3] != "legacy")
    # Our own year begins in December of the year before: only the new API can answer for it.
    assert ("handling-satisfaction", "2025-12-15", "2026-12-14", "days") in found


def test_without_an_old_api_everything_is_asked_from_the_new_one() -> None:
    bare = replace(CONNECTOR, legacy_path=None, legacy_until=None, calendar_groups=())
    found = asked(local(2025, 3, 1), local(2025, 3, 2), bare)
    assert {q[3] for q in found} == {"days"}
    assert {q[0] for q in found} == {"handling-satisfaction"}


def test_the_contract_of_the_feed_asks_all_seven_groups() -> None:
    connector = load_contracts(PROJECT / "expectations" / "contracts")["portal_evaluation"].connector
    assert isinstance(connector, PortalWindows)
    assert {connector.group, *connector.calendar_groups} == {group for group, _ in LEGACY_GROUPS.values()}
    assert connector.legacy_path
    assert connector.metric_version != connector.legacy_metric_version


# -- a portal that does as it is told ------------------------------------------------------------------------------------


class Portal:
    """Units per window and group; `change` may answer a call otherwise."""

    def __init__(
        self, units: list[str], change: Callable[[int, int], list[str] | None] = lambda call, page: None
    ) -> None:
        self.units, self.change = units, change
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.legacy: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("rest.jsp"):
            assert request.headers["content-type"] == "application/x-www-form-urlencoded"
            form = parse_qs(request.content.decode())
            assert set(form) == {"params"}
            self.calls.append(("legacy", orjson.loads(form["params"][0])))
            return httpx.Response(200, json={"code": "OK", "data": self.legacy})
        body = orjson.loads(request.content)
        self.calls.append((request.url.path.rsplit("/", 1)[1], body))
        page, size = body["currentPage"], body["pageSize"]
        units = self.change(len(self.calls), page)
        if units is None:
            units = self.units[(page - 1) * size : page * size]
        data = {
            "overview": {"departmentId": ROOT, "totalScore": 60},
            "evaluation": [{"departmentId": unit, "totalScore": None} for unit in units],
        }
        return httpx.Response(201, json={"code": "OK", "data": data})

    def snapshots(self, found: list[Question] | None = None) -> Snapshots:
        client = Client("portal", Source("http://portal.invalid", "t"), RETRY, httpx.MockTransport(self))
        if found is None:
            found = [
                q for q in questions(CONNECTOR, RULES, local(2026, 10, 20), local(2026, 10, 21)) if q.style == "days"
            ][:1]
        return Snapshots("portal_evaluation", client, CONNECTOR, found, lambda: AT)


def records(snapshots: Snapshots) -> list[dict[str, Any]]:
    return [record for page in snapshots for record in page]


SEVEN = list("abcdefg")


def test_paging_ends_at_an_empty_page_and_the_overview_comes_once() -> None:
    portal = Portal(SEVEN)
    snapshots = portal.snapshots()
    found = records(snapshots)
    assert [r["departmentId"] for r in found] == [ROOT, *SEVEN]
    assert [r["isOverview"] for r in found] == [True] + [False] * 7
    # The empty page is believed when it is empty again.
    assert [body["currentPage"] for _, body in portal.calls] == [1, 2, 3, 4, 4]
    window = snapshots.questions[0].window
    group, body = portal.calls[0]
    assert group == "handling-satisfaction"
    assert body == {
        "fromDate": window.first.isoformat(), "toDate": window.last.isoformat(), "rootDepartmentId": ROOT,
        "currentPage": 1, "pageSize": 3,
    }  # fmt: skip
    stamp = {
        "group": "handling-satisfaction", "fromDate": window.first.isoformat(), "toDate": window.last.isoformat(),
        "metricVersion": "2026", "retrievedAt": AT,
    }  # fmt: skip
    assert all(stamp.items() <= record.items() for record in found)
    assert snapshots.taken == [
        {
            "prefix": f"handling-satisfaction|{window.first}|{window.last}|", "group_code": "handling-satisfaction",
            "window_from": window.first.isoformat(), "window_to": window.last.isoformat(),
            "retrieved_at": AT.isoformat(), "rows": 8,
        }
    ]  # fmt: skip


def test_the_prefix_of_a_snapshot_is_how_the_record_keys_begin() -> None:
    contract = load_contracts(PROJECT / "expectations" / "contracts")["portal_evaluation"]
    assert [column.name for column in contract.keys][:3] == ["group_code", "window_from", "window_to"]


def test_the_calendar_groups_are_asked_by_kind_of_window() -> None:
    portal = Portal(["a"])
    found = questions(CONNECTOR, RULES, local(2026, 10, 20), local(2026, 10, 21))
    read = records(portal.snapshots([q for q in found if q.group == "transparency"]))
    when = [
        {name: body[name] for name in ("timeType", "year", "quarter", "month") if name in body}
        for _, body in portal.calls
        if body["currentPage"] == 1
    ]
    assert sorted(when, key=str) == sorted(
        [
            {"timeType": "month", "year": 2026, "month": 10},
            {"timeType": "quarter", "year": 2026, "quarter": 4},
            {"timeType": "year", "year": 2026},
        ],
        key=str,
    )
    assert {group for group, _ in portal.calls} == {"transparency"}
    assert not [body for _, body in portal.calls if "fromDate" in body]
    assert {(r["group"], r["fromDate"], r["toDate"]) for r in read} == {
        ("transparency", "2026-10-01", "2026-10-31"),
        ("transparency", "2026-10-01", "2026-12-31"),
        ("transparency", "2026-01-01", "2026-12-31"),
    }


def test_an_empty_page_that_is_not_the_end_is_asked_for_again() -> None:
    assert len(records(Portal(SEVEN, lambda call, page: [] if call == 2 else None).snapshots())) == 8
    assert len(records(Portal(SEVEN, lambda call, page: [] if call == 1 else None).snapshots())) == 8


def test_a_window_without_units_is_answered_whole() -> None:
    snapshots = Portal([]).snapshots()
    assert [r["isOverview"] for r in records(snapshots)] == [True]
    assert snapshots.taken[0]["rows"] == 1


@pytest.mark.parametrize(
    ("page_2", "told"),
    [
        (list("abc"), "page 2 is page 1 again"),
        (list("cde"), "page 2 holds units of a page before it"),
        (list("de"), "page 2 holds 2 units and page 1 3"),
    ],
)
def test_a_list_that_moves_starts_over_and_nothing_counts_as_answered(page_2: list[str], told: str) -> None:
    snapshots = Portal(SEVEN, lambda call, page: page_2 if call == 2 else None).snapshots()
    with pytest.raises(StartOver, match=told):
        records(snapshots)
    assert snapshots.taken == []
    assert [r["departmentId"] for r in records(snapshots)] == [ROOT, *SEVEN]
    assert len(snapshots.taken) == 1


def test_a_list_that_holds_a_unit_twice_every_time_is_the_portals_own() -> None:
    snapshots = Portal(list("abcade")).snapshots()
    with pytest.raises(StartOver):
        records(snapshots)
    assert len(records(snapshots)) == 7


def test_a_portal_that_ignores_the_page_number_is_never_taken_for_whole() -> None:
    snapshots = Portal(SEVEN, lambda call, page: list("abc")).snapshots()
    for _ in range(4):
        with pytest.raises(StartOver, match="page 2 is page 1 again"):
            records(snapshots)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"code": "ERROR", "message": "Hệ thống đang bận"}, "page 1 of .* refused, code 'ERROR' .Hệ thống đang bận"),
        ({"code": "OK", "data": None}, r"no list data\.evaluation"),
        ({"code": "OK", "data": {"overview": {}, "evaluation": {}}}, r"no list data\.evaluation"),
    ],
)
def test_an_error_in_a_good_answer_is_a_refusal(answer: dict[str, Any], told: str) -> None:
    snapshots = Portal([]).snapshots()
    snapshots.client = Client(
        "portal",
        Source("http://portal.invalid", ""),
        RETRY,
        httpx.MockTransport(lambda _: httpx.Response(201, json=answer)),
    )
    with pytest.raises(PermanentError, match=told):
        records(snapshots)
    assert snapshots.taken == []


def test_a_portal_that_is_away_is_told_with_window_and_page() -> None:
    snapshots = Portal([]).snapshots()
    snapshots.client = Client(
        "portal", Source("http://portal.invalid", ""), RETRY, httpx.MockTransport(lambda _: httpx.Response(500))
    )
    with pytest.raises(TransientError, match=r"page 1 of 202\d-\d\d-\d\d to 2026-\d\d-\d\d, answered 500"):
        records(snapshots)


# -- the API to 2025 -----------------------------------------------------------------------------------------------------


def legacy_row(unit: str, **scores: float | None) -> dict[str, Any]:
    row = {"CKMB": 17.5, "TDGQ": 19, "TTTT": 9.5, "CLGQ": 11.5, "MDHL": 17.94, "MDSH": 21, "TONG_SCORE": 96.44}
    return {"departmentId": unit, "departmentName": unit.upper()} | row | scores


def legacy(rows: list[dict[str, Any]], year: int = 2025, month: int = 8) -> tuple[Portal, Snapshots]:
    portal = Portal([])
    portal.legacy = rows
    found = questions(CONNECTOR, RULES, local(year, month, 10), local(year, month, 11))
    return portal, portal.snapshots(found)


def test_the_old_api_answers_all_groups_of_a_calendar_window_at_once() -> None:
    portal, snapshots = legacy([legacy_row(ROOT), legacy_row("a", MDHL=None)])
    found = records(snapshots)
    base = {"service": "report_tinh_766_service", "year": 2025, "provinceCode": "H29"}
    assert sorted([params for _, params in portal.calls], key=str) == sorted(
        [
            base | {"timeType": "month", "month": 8},
            base | {"timeType": "quarter", "quarter": 3},
            base | {"timeType": "year"},
        ],
        key=str,
    )
    assert len(found) == 3 * 2 * 7
    month = {(r["group"], r["departmentId"]): r for r in found if r["toDate"] == "2025-08-31"}
    assert len(month) == 14
    assert {group: r["totalScore"] for (group, unit), r in month.items() if unit == ROOT} == {
        "transparency": 17.5, "dvc-progress-tree": 19, "provide-online-tree": 11.5, "formality-online-payment-tree": 9.5,
        "dossier-digitized": 21, "handling-satisfaction": 17.94, "service-results": 96.44,
    }  # fmt: skip
    assert (
        sum(r["totalMaxScore"] for (group, unit), r in month.items() if unit == "a" and group != "service-results")
        == 100
    )
    assert month["handling-satisfaction", "a"]["totalScore"] is None, "null is not zero"
    assert {r["metricVersion"] for r in found} == {"2025"}
    assert {r["departmentId"]: r["isOverview"] for r in found} == {ROOT: True, "a": False}
    assert len(snapshots.taken) == 3 * 7
    assert {taken["rows"] for taken in snapshots.taken} == {2}
    assert len({taken["prefix"] for taken in snapshots.taken}) == 21


def test_the_points_tell_which_of_the_two_online_keys_is_which() -> None:
    """One unit above ten points under TTTT settles it for every unit of the answer."""
    _, snapshots = legacy(
        [legacy_row("a", TTTT=11.5, CLGQ=9.5), legacy_row("b", TTTT=8, CLGQ=7), legacy_row("c", TTTT=None, CLGQ=None)]
    )
    found = {(r["group"], r["departmentId"]): r for r in records(snapshots)}
    assert found["provide-online-tree", "a"]["totalScore"] == 11.5
    assert found["provide-online-tree", "b"]["totalScore"] == 8
    assert found["formality-online-payment-tree", "b"]["totalScore"] == 7
    assert {r["totalMaxScore"] for (group, _), r in found.items() if group == "formality-online-payment-tree"} == {10}


@pytest.mark.parametrize(
    ("scores", "rule"),
    [
        ([{"TTTT": 11.5, "CLGQ": 9.5}, {"TTTT": 8, "CLGQ": 7}], "indices_swapped"),
        ([{"TTTT": 9, "CLGQ": 9.5}, {"TTTT": None, "CLGQ": 10}], "indices_undecided"),
        ([{"TTTT": 10.5, "CLGQ": 9.5}, {"TTTT": 9, "CLGQ": 11}], "indices_undecided"),  # no order fits
        ([{"TTTT": 9, "CLGQ": 10.01}], None),
        ([], None),
    ],
)
def test_indices_under_each_others_key_are_found_and_said(scores: list[dict[str, float]], rule: str | None) -> None:
    _, snapshots = legacy([legacy_row(str(place), **each) for place, each in enumerate(scores)])
    for _ in range(2):  # a read that starts over says it once
        list(snapshots)
    found = snapshots.findings()
    assert [f["rule"] for f in found] == ([rule] if rule else [])
    assert not found or (found[0]["records"] == 3 and "2025-08-01 – 2025-08-31" in found[0]["detail"])


def test_a_key_that_is_missing_is_no_record_and_a_row_of_another_shape_goes_to_the_door() -> None:
    row = legacy_row("a")
    del row["MDSH"]
    _, snapshots = legacy([row, "text"])  # type: ignore[list-item]
    found = [record for page in snapshots for record in page]
    assert found.count("text") == 3
    assert "dossier-digitized" not in {r["group"] for r in found if isinstance(r, dict)}
    # A group that the answer does not speak of was not answered: nothing of it is taken for gone.
    assert {t["group_code"] for t in snapshots.taken} == {group for group, _ in LEGACY_GROUPS.values()} - {
        "dossier-digitized"
    }


def test_an_error_of_the_old_api_is_a_refusal() -> None:
    _, snapshots = legacy([])
    snapshots.client = Client(
        "portal", Source("http://portal.invalid", ""), RETRY,
        httpx.MockTransport(lambda _: httpx.Response(200, json={"code": "ERROR", "message": "sai"})),
    )  # fmt: skip
    with pytest.raises(PermanentError, match=r"report_tinh_766_service, 2025-.*refused, code 'ERROR' \(sai\)"):
        records(snapshots)
