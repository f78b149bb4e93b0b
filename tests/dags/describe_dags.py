"""Prints, as one JSON object, what a folder of DAG files declares. Run by the tests in a clean interpreter."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HEAVY = ("dbt", "great_expectations", "pandas", "pyarrow", "psycopg", "adbc_driver_postgresql", "typer", "numpy")


def main(folder: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    if not folder.is_dir() or not list(folder.glob("*.py")):
        sys.exit(f"no DAG files in {folder}")
    bag = DagBag(dag_folder=str(folder))
    dags = {
        dag.dag_id: {
            "file": Path(dag.fileloc).name,
            "timezone": str(getattr(dag.timetable, "timezone", "")),
            "cron": getattr(dag.timetable, "expression", None) or getattr(dag.timetable, "_expression", None),
            "owner": dag.owner,
            "tags": sorted(dag.tags),
            "doc_md": dag.doc_md,
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "params": sorted(dag.params),
            "deadlines": [(type(found.reference).__name__, found.callback.path) for found in dag.deadline or []],
            "upstream": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks},
            "commands": {task.task_id: task.command for task in dag.tasks if hasattr(task, "command")},
            "rules": {task.task_id: task.trigger_rule.value for task in dag.tasks},
            "operators": {task.task_id: type(task).__name__ for task in dag.tasks},
            "assigned_users": {
                task.task_id: task.assigned_users for task in dag.tasks if hasattr(task, "assigned_users")
            },
        }
        for dag in bag.dags.values()
    }
    heavy = [name for name in HEAVY if name in sys.modules]
    print(json.dumps({"dags": dags, "errors": bag.import_errors, "heavy": heavy}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
