"""The contracts are valid under the standard, and a typo in one is answered with the place and what is allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from hailong.contracts import PagedHttp, find_contract, load_contract, load_contracts
from hailong.errors import PermanentError, UsageError
from hailong.settings import PROJECT

FOLDER = PROJECT / "expectations" / "contracts"
FEEDS = {
    "authority_evaluation", "code_map", "dossier", "dossier_sync", "internal_evaluation", "petition", "portal_evaluation",
    "posting_check", "procedure_register", "rating", "record_dispute", "self_evaluation", "survey_result", "unit_action",
    "unit_explanation", "unit_register",
}  # fmt: skip


@pytest.mark.parametrize("feed", sorted(FEEDS))
def test_a_contract_is_valid_under_the_standard(feed: str) -> None:
    path = FOLDER / f"{feed}.yaml"
    OpenDataContractStandard.from_file(str(path))
    jsonschema.validate(yaml.safe_load(path.read_text("utf-8")), json.loads(OpenDataContractStandard.json_schema()))


def test_there_is_a_contract_for_every_feed() -> None:
    contracts = load_contracts(FOLDER)
    assert set(contracts) == FEEDS
    assert {c.feed for c in contracts.values() if c.kind == "register"} == {
        "code_map", "procedure_register", "unit_register"
    }  # fmt: skip
    assert all(c.owner and c.schedule and c.due and c.freshness_hours > 0 for c in contracts.values())


def test_a_contract_says_keys_codes_and_what_is_hashed() -> None:
    dossier = load_contract(FOLDER / "dossier.yaml")
    assert isinstance(dossier.connector, PagedHttp)
    assert [c.name for c in dossier.keys] == ["dossier_code"]
    assert not dossier.column("updated_at").hashed
    codes = dossier.column("resolving_unit_source_code").codes
    assert codes is not None
    assert (codes.system, codes.kind, codes.check) == ("tthc", "unit", True)
    assert [c.name for c in dossier.column("supplements").items][:2] == ["supplement_id", "requested_at"]
    assert "ChuHoSo" in dossier.personal
    portal = load_contract(FOLDER / "portal_evaluation.yaml")
    assert [c.name for c in portal.keys] == ["group_code", "window_from", "window_to", "department_id"]


def test_a_person_passes_as_a_pseudonym_only_and_counts_in_no_version(tmp_path: Path) -> None:
    text = (FOLDER / "rating.yaml").read_text("utf-8")
    path = tmp_path / "rating.yaml"
    path.write_text(
        text.replace(
            "sourceField, value: maHoSo}", "sourceField, value: hoTen}\n          - {property: pseudonym, value: true}"
        )
    )
    contract = load_contract(path)
    assert [column.source for column in contract.pseudonyms] == ["hoTen"]
    assert not contract.pseudonyms[0].hashed


def test_deletions_are_noticed_by_absence_except_in_dropped_files() -> None:
    contracts = load_contracts(FOLDER)
    assert {contracts[feed].deletions for feed in ("dossier", "rating", "unit_register")} == {"absence"}
    assert contracts["posting_check"].deletions == "none"
    assert contracts["dossier"].max_delete_share == 0.005
    assert contracts["dossier"].cursor == contracts["dossier"].column("updated_at")
    assert contracts["unit_register"].cursor is None


def test_reading_contracts_loads_nothing_heavy() -> None:
    """DAG files read the contracts each time they are parsed."""
    code = (
        "import sys, hailong.contracts as c, pathlib; c.load_contracts(pathlib.Path(sys.argv[1]));"
        "print([m for m in ('pydantic', 'pyarrow', 'httpx', 'psycopg', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(FOLDER)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_feeds_come_at_their_own_minute_registers_first_and_all_before_the_build() -> None:
    contracts = load_contracts(FOLDER)
    fields = {feed: contract.schedule.split() for feed, contract in contracts.items()}
    minutes = {feed: int(hour) * 60 + int(minute) for feed, (minute, hour, *_) in fields.items()}
    assert len(set(minutes.values())) == len(minutes)
    registers = {minutes[feed] for feed, contract in contracts.items() if contract.kind == "register"}
    assert max(registers) < min(set(minutes.values()) - registers) and max(minutes.values()) < 3 * 60


TYPOS = [
    ("physicalType: text", "physicalType: txt", "unknown value 'txt'; allowed: text"),
    ("kind: paged_http", "kind: paged_htp", "unknown value 'paged_htp'; allowed: paged_http, portal_windows"),
    ("pageSize: 1000", "pageSiz: 1000", "unknown key 'pageSiz'; allowed: kind, system"),
    ("pageSize: 1000", "pageSize: many", "connector.pageSize: expected a whole number"),
    ("totalField: total\n      ", "", "missing totalField"),
    ("value: [updated_at]", "value: [update_at]", "no date column 'update_at'; allowed: rated_at, updated_at"),
    ("{property: precisionOf, value: rated_at}", "{property: precisionOf, value: rate_at}", "no column 'rate_at'"),
    ("property: sourceField, value: mucDo", "property: sourceFeld, value: mucDo", "unknown key 'sourceFeld'; allowed"),
    ("sourceField, value: mucDo", "sourceField, value: hoTen", "may feed a flag or a pseudonym, never a plain column"),
    ("primaryKey: true", "primaryKye: true", "unknown key 'primaryKye'"),
    ("id: rating", "id: ratings", "must be the file's name"),
    ("schedule: 45 0 * * *", "schedule: 45 0 * *", "is not a cron line"),
    ("property: latency", "property: latencies", "unknown value 'latencies'; allowed: frequency"),
    ("feedKind, value: event", "feedKind, value: events", "unknown value 'events'; allowed: event, register"),
    ("name: level_code", "name: channel_code", "column 'channel_code' stands twice"),
    ("team:", "team: [", "not valid YAML"),
    ("privacyClass, value: internal", "privacyClass, value: inernal", "unknown value 'inernal'; allowed: public, internal"),
    ("{property: retentionMonths,", "{property: retentionMonth,", "unknown key 'retentionMonth'"),
    ("{property: maxDeleteShare, value: 0.005}", "{property: maxDeleteShare, value: 5}", "a share is 0 to 1"),
    ("{property: lookbackDays, value: 45}", "{property: deletions, value: always}", "allowed: absence, none"),
    ("value: {workingDay: [0.3, 3], dayOff: [0, 10]}", "value: {workingDay: [3, 1], dayOff: [0, 1]}",
     "3.0 is not less than 1.0"),
    ("value: {workingDay: [0.3, 3], dayOff: [0, 10]}", "value: {workingDay: [0, 1]}", "missing dayOff"),
    ("{property: hashed, value: false}", "{property: pseudonym, value: true}", "a pseudonym is a text column"),
    ("pageSize: 1000", "pageSize: 1000\n      requestsPerSecond: 0", "expected a number above zero"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "told"), TYPOS)
def test_a_typo_is_answered_with_file_place_and_what_is_allowed(
    tmp_path: Path, right: str, wrong: str, told: str
) -> None:
    text = (FOLDER / "rating.yaml").read_text("utf-8")
    assert right in text
    path = tmp_path / "rating.yaml"
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(PermanentError) as caught:
        load_contract(path)
    assert "rating.yaml" in str(caught.value)
    assert told in str(caught.value)


def test_an_unknown_feed_is_answered_with_the_feeds_there_are() -> None:
    with pytest.raises(UsageError, match=r"unknown feed 'dosier'.*code_map, dossier"):
        find_contract(FOLDER, "dosier")
    with pytest.raises(UsageError, match="unknown feed"):
        find_contract(FOLDER, "../dossier")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no contract"):
        load_contracts(tmp_path)
