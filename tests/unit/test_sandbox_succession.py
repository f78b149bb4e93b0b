"""The register's own history: who was before 1 July 2025, and who took over from whom."""

from __future__ import annotations

from collections import Counter

from sandbox.registers import PEER_GROUPS, former_units, predecessors, unit_records, units

RECORDS = {record["MaCoQuan"]: record for record in unit_records()}
TODAY = {code: record for code, record in RECORDS.items() if record["NgayKetThuc"] is None}
BEFORE = {code: record for code, record in RECORDS.items() if record["NgayKetThuc"] is not None}


def test_every_unit_has_one_record_and_former_ones_have_ended_on_30_june() -> None:
    assert len(unit_records()) == len(RECORDS) == 186 + 464
    assert set(TODAY) == {unit.code for unit in units()}
    assert set(BEFORE) == {unit.code for unit in former_units()}
    assert {record["NgayKetThuc"] for record in BEFORE.values()} == {"20250701"}
    assert all(record["NgayBatDau"] < "20250701" for record in BEFORE.values())
    assert not {record["NhomXepHang"] for record in BEFORE.values()} & {
        record["NhomXepHang"] for record in TODAY.values()
    }
    assert all(record["TenNhomXepHang"] == PEER_GROUPS[record["NhomXepHang"]] for record in RECORDS.values())


def test_the_city_of_that_time_is_scored_and_its_neighbours_are_not() -> None:
    scored = Counter(record["LoaiCoQuan"] for record in BEFORE.values() if record["ChamDiem"])
    assert (scored["district"] + scored["municipal_city"], scored["municipal_city"]) == (22, 1)
    assert scored["ward"] + scored["commune"] + scored["township"] == 273
    others = Counter(record["LoaiCoQuan"] for record in BEFORE.values() if not record["ChamDiem"])
    assert others.pop("district") == 1  # Côn Đảo
    assert sum(others.values()) == 168
    assert len({record["MaThongKe"] for record in BEFORE.values()}) == 464


def test_every_commune_took_over_from_registered_units_and_nothing_is_lost() -> None:
    communes = {unit.code for unit in units() if unit.is_commune}
    assert set(predecessors()) == communes
    given = Counter(code for pairs in predecessors().values() for code, _ in pairs)
    districts = {unit.code for unit in former_units() if len(unit.gso_code) == 3} - {"HCM.T755"}
    assert set(given) == {unit.code for unit in former_units()} - districts  # whose work went to no one commune
    for pairs in predecessors().values():
        for code, extent in pairs:
            assert (extent == "full") == (given[code] == 1), code
    for code in communes:
        told = RECORDS[code]["DanhSachCoQuanTruoc"]
        assert [(one["MaCoQuan"], one["PhamVi"]) for one in told] == list(predecessors()[code])
        assert {one["NgayKeThua"] for one in told} == {"20250701"} == {RECORDS[code]["NgayBatDau"]}
    assert all(record["DanhSachCoQuanTruoc"] == [] for code, record in RECORDS.items() if code not in communes)


def test_six_communes_are_just_what_one_unit_was() -> None:
    unbroken = {
        RECORDS[code]["TenCoQuan"]: pairs[0][0]
        for code, pairs in predecessors().items()
        if len(pairs) == 1 and pairs[0][1] == "full"
    }
    assert len(unbroken) == 6
    assert unbroken["Đặc khu Côn Đảo"] == "HCM.T755"
