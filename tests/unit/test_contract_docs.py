"""The page of the contracts says what the contracts say, and is noticed when it does not."""

from __future__ import annotations

from pathlib import Path

from hailong.contract_docs import is_current, render, write
from hailong.contracts import load_contracts
from hailong.settings import PROJECT, Settings

CONTRACTS = PROJECT / "expectations" / "contracts"


def test_the_page_in_the_project_is_up_to_date() -> None:
    assert is_current(CONTRACTS, PROJECT / "docs" / "contracts.md"), "run `hailong contracts docs`"


def test_it_names_every_feed_column_and_field_that_stays_at_the_door() -> None:
    contracts = load_contracts(CONTRACTS)
    page = render(contracts.values())
    for contract in contracts.values():
        section = page.split(f"\n## {contract.feed}\n")[1].split("\n## ")[0]
        for column in contract.columns:
            assert f"| `{column.name}` |" in section
        for field in contract.personal:
            assert f"`{field}`" in section.split("| column |")[0]


def test_a_page_that_is_behind_is_noticed_and_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "contracts.md"
    assert not is_current(CONTRACTS, page)
    assert write(CONTRACTS, page) is True
    assert write(CONTRACTS, page) is False
    page.write_text(page.read_text("utf-8").replace("dossier", "dosier", 1), "utf-8")
    assert not is_current(CONTRACTS, page)


def test_no_secret_of_the_environment_is_in_what_settings_say_of_themselves() -> None:
    env = {
        "HAILONG_PSEUDONYM_KEY": "2026:c2VjcmV0",
        "HAILONG_DSN": "postgresql://u:s3cret@h/d",
        "HAILONG_SOURCE_TTHC_URL": "http://h",
        "HAILONG_SOURCE_TTHC_TOKEN": "s3cret",
        "HAILONG_SOURCE_SURVEY_OPTIONS": '{"secret": "s3cret"}',
        "HAILONG_SOURCE_INSTITUTIONAL_URL": "postgresql+psycopg://u:s3cret@h/d",
    }
    settings = Settings.load(env)
    told = f"{settings!r} {settings} {settings.source('tthc')!r}"
    assert "s3cret" not in told and "c2VjcmV0" not in told
