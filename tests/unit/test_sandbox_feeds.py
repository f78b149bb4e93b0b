"""The stand-in's portal copy, petitions, steps and deletions: what is sent agrees with what is said about it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from sandbox import truth
from sandbox.generator import City
from sandbox.options import SIZES, Options, seconds
from sandbox.petitions import PetitionFeed
from sandbox.portal import Portal
from sandbox.records import DossierFeed, wire
from sandbox.registers import code_records
from sandbox.sync import (
    AS_IT_IS,
    LAG_TOLERATED,
    REASONS,
    SyncFeed,
    differences,
    distortions,
    portal_copy,
    reconciliation,
)

OPTIONS = Options(size=SIZES["small"])
END = seconds(OPTIONS.end_at)
CODES = {(r["HeThong"], r["LoaiMa"], r["MaNguon"]): r["MaDich"] for r in code_records()}
Record = dict[str, Any]


@pytest.fixture(scope="module")
def city() -> City:
    return City(OPTIONS)


def sent(feed: DossierFeed | SyncFeed | PetitionFeed) -> list[Record]:
    return feed.page(0, len(feed.rows))


@pytest.fixture(scope="module")
def city_records(city: City) -> dict[str, Record]:
    """Readable dossiers of the city at the end."""
    unreadable = {city.dossiers.code[row] for row in np.flatnonzero(city.dossiers.bad >= 0).tolist()}
    found = {record["MaHoSo"]: record for record in sent(DossierFeed(city, END)) if record["MaHoSo"]}
    return {code: record for code, record in found.items() if code not in unreadable}


@pytest.fixture(scope="module")
def portal_records(city: City) -> dict[str, Record]:
    return {record["MaHoSo"]: record for record in sent(SyncFeed(portal_copy(city), END))}


def unit(system: str, record: Record) -> str:
    return CODES[(system, "unit", record["DonViXuLy"])] or "unknown"


@pytest.mark.parametrize("now", [END, END - 40 * 86_400])
def test_status_of_all_dossiers_at_once_is_the_status_in_each_record(city: City, now: int) -> None:
    feed = DossierFeed(city, now)
    status = city.dossiers.status_at(now - city.dossiers.lag)
    assert [int(record["TrangThaiHoSo"]) for record in sent(feed)] == status[feed.rows].tolist()


def test_both_sides_of_the_reconciliation_add_up_to_what_is_sent(
    city: City, city_records: dict[str, Record], portal_records: dict[str, Record]
) -> None:
    def cell(system: str, record: Record) -> tuple[str, str, str]:
        day = record["NgayTiepNhan"]
        return unit(system, record), f"{day[:4]}-{day[4:6]}-{day[6:8]}", str(record["TrangThaiHoSo"])

    expected = [
        Counter(cell("tthc", record) for record in city_records.values()),
        Counter(cell("portal", r) for r in portal_records.values() if not r["NgayTiepNhan"].startswith("20260231")),
    ]
    found: list[Counter[tuple[str, str, str]]] = [Counter(), Counter()]
    for (*key, reason), counts in reconciliation(city, END).items():
        assert reason in REASONS
        assert (counts[0] == counts[1]) or reason != "same"
        for side in (0, 1):
            if counts[side]:
                found[side][(key[0], key[1], key[2])] += counts[side]
    assert found == expected


def test_what_is_the_same_by_the_truth_is_the_same_in_the_records(
    city: City, city_records: dict[str, Record], portal_records: dict[str, Record]
) -> None:
    copy = portal_copy(city)
    row_of = {code: row for row, code in enumerate(city.dossiers.code)}
    same = 0
    for code, mine in city_records.items():
        theirs = portal_records.get(code)
        if theirs is None or copy.fate[row_of[code]] != AS_IT_IS:
            continue
        assert unit("tthc", mine) == unit("portal", theirs) and mine["NgayTiepNhan"] == theirs["NgayTiepNhan"]
        same += int(mine["TrangThaiHoSo"]) == int(theirs["TrangThaiHoSo"])
        recent = mine["NgayCapNhat"] > wire(END - LAG_TOLERATED)
        inserted = any(step["TrangThai"] == 9 for step in mine["DanhSachTienDo"])
        assert int(mine["TrangThaiHoSo"]) == int(theirs["TrangThaiHoSo"]) or recent or inserted
    assert 2 * same == differences(city, END)["same"]


def test_every_reason_and_every_distortion_occurs(city: City) -> None:
    found = set(differences(City(Options(size=SIZES["small"], deletions=4)), END))
    assert found >= set(REASONS) - {"not_yet_at_portal", "not_yet_at_city"}
    assert {"not_yet_at_portal"} <= set(differences(City(Options(size=12_000)), END))
    assert min(distortions(city, END).values()) > 0


def test_a_step_says_done_only_where_it_was_inserted_or_the_dossier_is_done(
    city: City, city_records: dict[str, Record]
) -> None:
    inserted = [
        record for record in city_records.values()
        if int(record["TrangThaiHoSo"]) in (5, 6, 8) and any(s["TrangThai"] == 9 for s in record["DanhSachTienDo"])
    ]  # fmt: skip
    assert len(inserted) == distortions(city, END)["done_inserted"]
    for record in city_records.values():
        states = [step["TrangThai"] for step in record["DanhSachTienDo"]]
        if int(record["TrangThaiHoSo"]) == 4:
            assert 9 not in states
        assert len({step["TienDoId"] for step in record["DanhSachTienDo"]}) == len(states) >= 1


def test_interlinked_dossiers_name_the_unit_in_charge_and_another(city_records: dict[str, Record]) -> None:
    linked = [record for record in city_records.values() if record["LienThong"]]
    assert 0.03 < len(linked) / len(city_records) < 0.07
    assert all(not record["DanhSachDonViPhoiHop"] for record in city_records.values() if not record["LienThong"])
    for record in linked:
        first, second = record["DanhSachDonViPhoiHop"]
        assert (first["VaiTro"], second["VaiTro"]) == ("CHU_TRI", "PHOI_HOP")
        assert first["MaDonVi"] == record["DonViXuLy"] != second["MaDonVi"]
        assert ("tthc", "unit", second["MaDonVi"]) in CODES


def test_recounting_the_petitions_gives_the_portals_own_figures(city: City) -> None:
    feed = [r for r in sent(PetitionFeed(city, END)) if r["MaPAKN"] and r["TrangThai"] != "TU_CHOI"]
    for period in OPTIONS.months():
        counts = Portal(city).counts(period.first, period.last, END)
        first, last = f"{period.first:%Y%m%d}000000", f"{period.last:%Y%m%d}235959"
        for index, expected in counts.items():
            mine = [r for r in feed if r["MaCoQuan"] == city.units[index].department_id]
            mine = [r for r in mine if first <= r["NgayTiepNhan"] <= last]
            counted = [r for r in mine if r["NgayTraLoi"] or r["HanXuLy"] < wire(END)]
            assert (len(mine), len(counted)) == (expected.petitions, expected.classified)
            assert sum(bool(r["NgayTraLoi"]) and r["NgayTraLoi"] <= r["HanXuLy"] for r in counted) == expected.on_time
            assert sum(r["HaiLong"] is True for r in counted) == expected.satisfied
            assert sum(r["PhanLoai"] == "STAFF" for r in counted) == expected.about_staff


def test_petitions_have_every_state_and_turn(city: City) -> None:
    records = sent(PetitionFeed(City(Options(size=SIZES["demo"])), END))
    assert {r["TrangThai"] for r in records} == {
        "MOI_TIEP_NHAN", "YEU_CAU_BO_SUNG", "TU_CHOI", "DA_TRA_LOI", "DA_CONG_KHAI"
    }  # fmt: skip
    assert {r["SoLanGuiLai"] for r in records} == {0, 1, 2, 3}
    assert {r["HaiLong"] for r in records} == {True, False, None}
    assert all(r["NgayCapNhat"] >= max(filter(None, (r["NgayTraLoi"], r["NgayCongKhai"])), default="") for r in records)


@pytest.mark.parametrize("kind", [SyncFeed, PetitionFeed])
def test_feeds_of_the_portal_are_ordered_by_cursor_and_cut_by_window(city: City, kind: type) -> None:
    feed = SyncFeed(portal_copy(city), END) if kind is SyncFeed else PetitionFeed(city, END)
    records = sent(feed)
    assert [r["NgayCapNhat"] for r in records] == sorted(r["NgayCapNhat"] for r in records)
    middle = seconds(datetime(2026, 9, 1))
    (a, b), (c, d) = feed.window(0, middle), feed.window(middle, END + 1)
    assert (a, b, d) == (0, c, len(records))
    assert all(r["NgayCapNhat"] < wire(middle) for r in records[:b])


def test_deleted_dossiers_vanish_at_the_end_only_and_stay_at_the_portal() -> None:
    city, whole = City(Options(size=1500, deletions=6)), City(Options(size=1500))
    before = DossierFeed(city, END - 1)
    assert sent(before) == sent(DossierFeed(whole, END - 1))
    gone = {r["MaHoSo"] for r in sent(before)} - {r["MaHoSo"] for r in sent(DossierFeed(city, END))}
    assert gone == set(truth.counts(city, END)["dossier"]["deleted"]) and len(gone) == 6  # type: ignore[index]
    changed = [r["NgayCapNhat"] for r in sent(before) if r["MaHoSo"] in gone]
    look_back = wire(seconds(OPTIONS.end_at - timedelta(days=45)))
    assert sum(at < look_back for at in changed) == 3
    assert gone <= {r["MaHoSo"] for r in sent(SyncFeed(portal_copy(city), END))}
    assert differences(city, END)["deleted_at_city"] == 6
    with pytest.raises(ValueError, match="deletions: only"):
        City(Options(size=50, deletions=40)).gone(END)
