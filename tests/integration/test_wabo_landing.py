"""Real dossiers through the file drop, up to the landing folder: 8,577 events become 1,434 dossiers."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from hailong.contracts import find_contract
from hailong.extract.files import load_mapping
from hailong.extract.run import Read, extract_file
from tests.conftest import settings_for

MAPPING = Path(__file__).with_name("wabo_mapping.yaml")


def test_events_become_dossiers_with_their_requests(shared_data: Path, tmp_path: Path) -> None:
    settings = settings_for("", tmp_path, HAILONG_TIMEZONE="Europe/Amsterdam")
    contract = find_contract(settings.contracts, "dossier")
    path = shared_data / "wabo_receipt.csv"
    mapping = load_mapping(MAPPING, contract)
    read = Read(settings, contract, None, lambda: datetime.now(UTC))
    landing = extract_file(read, path, mapping, None, MAPPING)

    found = pq.read_table(landing.records).to_pylist()
    assert (landing.manifest["received_rows"], landing.manifest["rejects"], len(found)) == (1434, 0, 1434)
    assert Counter(row["status_code"] for row in found) == {"9": 1329, "4": 105}
    assert sum(row["finished_at"] is None for row in found) == 105
    assert sum(row["finished_at"] is not None and row["finished_at"] < row["received_at"] for row in found) == 2
    assert Counter(row["resolving_unit_source_code"] for row in found)["General/Group 2"] == 32
    requests = [orjson.loads(row["supplements"]) for row in found]
    assert sum(map(len, requests)) == 34
    assert max(map(len, requests)) >= 2
    assert all(item["requested_at"] and item["status_code"] == "1" for items in requests for item in items)
    assert landing.manifest["window_start"] < "2010-11" < "2012-01" < landing.manifest["window_end"]
