"""The same pages by dlt: its declarative REST source and its PostgreSQL destination, as they come. Runs in an
environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time

import dlt
from dlt.sources.rest_api import rest_api_source


def main() -> None:
    source = rest_api_source(
        {
            "client": {"base_url": os.environ["BENCH_URL"]},
            "resources": [
                {
                    "name": "dossier",
                    "primary_key": "MaHoSo",
                    "endpoint": {
                        "path": "TraCuuHoSo",
                        "method": "POST",
                        "json": {"SoBanGhi": 1000},
                        "data_selector": "DanhSachHoSo",
                        "paginator": {
                            "type": "page_number",
                            "base_page": 1,
                            "page_body_path": "Trang",
                            "total_path": None,
                        },
                    },
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        pipelines_dir=os.environ["BENCH_FOLDER"],
        destination=dlt.destinations.postgres(os.environ["BENCH_DSN"]),
        dataset_name="bench",
    )
    before = time.perf_counter()
    info = pipeline.run(source)
    seconds = time.perf_counter() - before
    info.raise_on_failed_jobs()
    with pipeline.sql_client() as client:
        rows = client.execute_sql("select count(*) from dossier")[0][0]
    print(json.dumps({"seconds": seconds, "received": rows, "loaded": rows, "version": dlt.__version__}))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
