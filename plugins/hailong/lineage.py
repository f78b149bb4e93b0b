"""OpenLineage: what was made from what, told to the receiver that OPENLINEAGE_URL names, and to nobody without it.

A load tells feed → raw, a build each of its models (out of dbt's artifacts), a candidate marts → candidate, a publication
candidate → edition: docs/runbook.md, "Lineage". Events hold names of tables, counts, batches and periods: no row, no person,
no address of a source. A receiver that is away costs a warning, never the command.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hailong import __version__, logs
from hailong.errors import HailongError
from hailong.settings import Settings

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

    from hailong.load.loader import LoadResult
    from hailong.publish.candidate import Candidate
    from hailong.publish.edition import Edition
    from hailong.warehouse.build import BuildResult

URL, KEY, NAMESPACE, DISABLED = (f"OPENLINEAGE_{name}" for name in ("URL", "API_KEY", "NAMESPACE", "DISABLED"))
PRODUCER = f"urn:hailong:{__version__}"
WAIT = 5.0  # seconds for the receiver to answer
MADE = {"model", "seed"}  # kinds of dbt's nodes that are tables or views
OF_CANDIDATE = ("candidate", "candidate_k_score", "candidate_index_score", "candidate_parameter", "candidate_annex")
OF_EDITION = ("edition", "k_score", "index_score", "edition_parameter", "annex")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A table, or what comes from or goes outside. `rows`: how many were read or written; `version`: batch or edition."""

    namespace: str
    name: str
    rows: int | None = None
    version: str | None = None
    columns: tuple[tuple[str, str], ...] = ()


@dataclass
class Part:
    """A step of a run that has a job of its own: a model of a build."""

    job: str
    kind: str
    began: str
    ended: str
    reads: list[Dataset]
    writes: list[Dataset]
    failed: str | None = None


@dataclass
class Told:
    """What a run is found to have read and written, put together while it goes on. `on`: whether anybody will hear it."""

    on: bool
    reads: list[Dataset] = field(default_factory=list)
    writes: list[Dataset] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


def is_on(env: Mapping[str, str]) -> bool:
    return bool(env.get(URL)) and env.get(DISABLED, "").strip().lower() != "true"


# -- the four things that are told ----------------------------------------------------------------------------------------


@contextmanager
def load(settings: Settings, feed: str, again: bool = False) -> Iterator[Callable[[LoadResult], None]]:
    """One extraction and its load; the body hands over the batch. `again`: out of the quarantine."""
    with logs.about(feed=feed), _run(settings, f"{'quarantine' if again else 'ingest'}.{feed}", "LOAD") as told:

        def loaded(result: LoadResult) -> None:
            logs.bind(batch=result.batch_id)
            if not told.on:
                return
            from hailong.contracts import find_contract

            system = find_contract(settings.contracts, feed).connector.system
            told.reads = [Dataset(f"{_namespace(settings)}.sources", f"{system}/{feed}", rows=result.received)]
            if again:
                told.reads = [_table(settings, "ops.quarantine", rows=result.received)]
            if not result.created:
                return
            written = {f"raw.{feed}": result.loaded + result.tombstones, "ops.quarantine": result.quarantined}
            told.writes = [
                _table(settings, table, rows=rows, version=str(result.batch_id))
                for table, rows in written.items()
                if rows or table.startswith("raw.")
            ]

        yield loaded


@contextmanager
def build(settings: Settings) -> Iterator[Callable[[BuildResult], None]]:
    """A build of the real tables: a run of its own for each model that was made, below that of the whole."""
    with _run(settings, "build", "BUILD") as told:

        def built(result: BuildResult) -> None:
            logs.bind_result(result)
            if told.on and not result.schema_prefix:
                told.parts = _models(settings, settings.home / "dbt" / "target")

        try:
            yield built
        except Exception as error:
            target: Path | None = getattr(getattr(error, "run", None), "target", None)  # DbtFailed: what ran before it
            if told.on and target:
                told.parts = _models(settings, target)
            raise


@contextmanager
def candidate(settings: Settings, dry_run: bool = False) -> Iterator[Callable[[Candidate | None], None]]:
    """A copy of one period's rows. None, and one that was there already, wrote nothing; a dry run is nobody's business."""
    with _run(settings, "candidate", "COPY", on=not dry_run) as told:

        def copied(found: Candidate | None) -> None:
            if found is None:
                return
            logs.bind_result(found)
            if told.on and found.created:
                from hailong.publish.candidate import COPIED

                told.reads = [_table(settings, _of_model(model)) for model in COPIED]
                told.writes = [_table(settings, f"publish.{name}", version=found.candidate_id) for name in OF_CANDIDATE]

        yield copied


@contextmanager
def publication(settings: Settings) -> Iterator[Callable[[Edition], None]]:
    """A candidate becomes an edition, rows and files."""
    with _run(settings, "publish", "PUBLISH") as told:

        def published(found: Edition) -> None:
            logs.bind_result(found)
            if not told.on or not found.created:
                return
            told.reads = [_table(settings, f"publish.{name}") for name in OF_CANDIDATE]
            told.writes = [_table(settings, f"publish.{name}", version=found.edition_id) for name in OF_EDITION]
            told.writes.append(Dataset(_namespace(settings), "editions", version=found.edition_id))  # its files

        yield published


# -- names ----------------------------------------------------------------------------------------------------------------


def _namespace(settings: Settings) -> str:
    return settings.env.get(NAMESPACE) or "hailong"


def _table(settings: Settings, table: str, **known: Any) -> Dataset:
    """`schema.table` of the warehouse, named as OpenLineage names those of PostgreSQL."""
    from psycopg.conninfo import conninfo_to_dict

    from hailong.warehouse.connect import dsn

    parts = conninfo_to_dict(dsn(settings))
    place = f"postgres://{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}"
    return Dataset(place, f"{parts.get('dbname') or parts.get('user') or 'postgres'}.{table}", **known)


def _of_model(model: str) -> str:
    """A mart's table goes without the prefix, a fact's with it."""
    return f"marts.{model.removeprefix('mart_')}" if model.startswith("mart_") else f"facts.{model}"


# -- dbt's artifacts ------------------------------------------------------------------------------------------------------


def _models(settings: Settings, target: Path) -> list[Part]:
    """What each table and view of the last call of dbt was made from; none where it stopped before it ran any."""
    results, manifest = target / "run_results.json", target / "manifest.json"
    if not results.is_file() or not manifest.is_file():
        return []
    known = json.loads(manifest.read_text(encoding="utf-8"))
    nodes: dict[str, Any] = known["nodes"] | known["sources"]
    found = []
    for result in json.loads(results.read_text(encoding="utf-8"))["results"]:
        node = nodes.get(result["unique_id"])
        times = [at for step in result["timing"] for at in (step["started_at"], step["completed_at"]) if at]
        if node is None or node["resource_type"] not in MADE or not times:
            continue  # a test; or one that was skipped because one before it failed
        rows = result["adapter_response"].get("rows_affected")
        columns = tuple((name, str(column.get("data_type") or "")) for name, column in node["columns"].items())
        made = _relation(settings, node, rows=rows if isinstance(rows, int) and rows >= 0 else None, columns=columns)
        found.append(
            Part(
                job=f"build.{node['schema']}.{node.get('alias') or node['name']}",
                kind=node["resource_type"].upper(),
                began=min(times),
                ended=max(times),
                reads=[_relation(settings, nodes[parent]) for parent in _parents(node, nodes)],
                writes=[made],
                # What the database said may quote a row: that stays in the log of the build.
                failed=None if result["status"] == "success" else f"dbt: {result['status']} of {node['unique_id']}",
            )
        )
    return found


def _parents(node: Mapping[str, Any], nodes: Mapping[str, Any]) -> Iterator[str]:
    """What a node was made from, through what is no relation itself."""
    for parent in node["depends_on"].get("nodes", []):
        if parent not in nodes:
            continue
        if nodes[parent].get("config", {}).get("materialized") == "ephemeral":
            yield from _parents(nodes[parent], nodes)
        else:
            yield parent


def _relation(settings: Settings, node: Mapping[str, Any], **known: Any) -> Dataset:
    name = node.get("identifier") or node.get("alias") or node["name"]
    return _table(settings, f"{node['schema']}.{name}", **known)


# -- telling --------------------------------------------------------------------------------------------------------------


@contextmanager
def _run(settings: Settings, job: str, kind: str, on: bool = True) -> Iterator[Told]:
    """START now; COMPLETE with what was put into `Told`, FAIL with the error, or ABORT when it is interrupted."""
    told = Told(on and is_on(settings.env))
    if not told.on:
        yield told
        return
    receiver = _Receiver(settings, job, kind)
    receiver.tell("START")
    try:
        yield told
    except BaseException as error:
        receiver.tell_parts(told.parts)
        how = "FAIL" if isinstance(error, Exception) else "ABORT"
        receiver.tell(how, told.reads, told.writes, failed=_in_short(error))
        raise
    receiver.tell_parts(told.parts)
    receiver.tell("COMPLETE", told.reads, told.writes)


def _in_short(error: BaseException) -> str:
    """Kind and first line of an error that we wrote; of any other its name only, because it may quote what it was given."""
    kind = type(error).__name__
    return f"{kind}: {str(error).splitlines()[0]}" if isinstance(error, HailongError) and str(error) else kind


class _Receiver:
    """Sends the events of one run. After the first that does not arrive it says so, once a process, and sends no more."""

    gone = False

    def __init__(self, settings: Settings, job: str, kind: str) -> None:
        self._settings = settings
        self._job, self._kind = job, kind
        self._transport: Any = None
        self._run_id = _RunId()

    def tell(
        self, what: str, reads: Iterable[Dataset] = (), writes: Iterable[Dataset] = (), failed: str | None = None
    ) -> None:
        """An event of the run itself, now."""
        self._send(what, self._job, self._kind, self._run_id, None, reads, writes, failed)

    def tell_parts(self, parts: Iterable[Part]) -> None:
        """Both events of each part, with the moments at which they happened."""
        for part in parts:
            of_part = (part.job, part.kind, _RunId())
            self._send("START", *of_part, part.began, part.reads, part.writes, None)
            self._send(
                "FAIL" if part.failed else "COMPLETE", *of_part, part.ended, part.reads, part.writes, part.failed
            )

    def _event(
        self, what: str, job: str, kind: str, run_id: _RunId, at: str | None, reads: Iterable[Dataset],
        writes: Iterable[Dataset], failed: str | None,
    ) -> RunEvent:  # fmt: skip
        from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import error_message_run, job_type_job, parent_run, tags_run
        from openlineage.client.facet_v2 import input_statistics_input_dataset as of_input
        from openlineage.client.facet_v2 import output_statistics_output_dataset as of_output

        namespace = _namespace(self._settings)
        tags = [
            tags_run.TagsRunFacetFields(name, str(value), "HAILONG") for name, value in logs.context().items() if value
        ]
        facets: dict[str, Any] = {"tags": tags_run.TagsRunFacet(tags=tags)}
        if run_id is not self._run_id:
            facets["parent"] = parent_run.ParentRunFacet(
                run=parent_run.Run(runId=self._run_id.value), job=parent_run.Job(namespace=namespace, name=self._job)
            )
        if failed:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=failed, programmingLanguage="python"
            )
        integration = "DBT" if kind in ("MODEL", "SEED") else "HAILONG"
        type_ = job_type_job.JobTypeJobFacet(processingType="BATCH", integration=integration, jobType=kind)
        return RunEvent(
            eventType=RunState[what],
            eventTime=at or datetime.now(UTC).isoformat(),
            producer=PRODUCER,
            run=Run(runId=run_id.value, facets=facets),
            job=Job(namespace=namespace, name=job, facets={"jobType": type_}),
            inputs=[
                InputDataset(
                    d.namespace, d.name, facets=_facets(d),
                    inputFacets={} if d.rows is None
                    else {"inputStatistics": of_input.InputStatisticsInputDatasetFacet(rowCount=d.rows)},
                )
                for d in reads
            ],
            outputs=[
                OutputDataset(
                    d.namespace, d.name, facets=_facets(d),
                    outputFacets={} if d.rows is None
                    else {"outputStatistics": of_output.OutputStatisticsOutputDatasetFacet(rowCount=d.rows)},
                )
                for d in writes
            ],
        )  # fmt: skip

    def _send(self, *event: Any) -> None:
        if _Receiver.gone:
            return
        try:
            self._connected().emit(self._event(*event))
        except Exception as error:  # whatever it is: lineage is told beside the work, and must not stop it
            _Receiver.gone = True
            host = urlsplit(self._settings.env[URL]).hostname or f"{URL}, which is no address"
            answer = getattr(getattr(error, "response", None), "status_code", None)
            why = f"HTTP {answer}" if answer else type(error).__name__
            log.warning("lineage is not told: %s at %s. The command goes on; see %s, %s", why, host, URL, KEY)

    def _connected(self) -> Any:
        """The client's HTTP transport, with what our variables say and nothing from files or other variables."""
        if self._transport is None:
            from openlineage.client.transport.http import HttpConfig, HttpTransport

            logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # we say it once
            env = self._settings.env
            auth = {"auth": {"type": "api_key", "apiKey": env[KEY]}} if env.get(KEY) else {}
            config = {"url": env[URL], "timeout": WAIT, "retry": {"total": 2, "connect": 2, "read": 1}, **auth}
            self._transport = HttpTransport(HttpConfig.from_dict(config))
        return self._transport


class _RunId:
    """The id of a run, the same in all its events; made when it is first asked for, because it takes the library."""

    @cached_property
    def value(self) -> str:
        from openlineage.client.uuid import generate_new_uuid

        return str(generate_new_uuid())


def _facets(dataset: Dataset) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset, schema_dataset

    facets: dict[str, Any] = {}
    if dataset.columns:
        fields = [schema_dataset.SchemaDatasetFacetFields(name=name, type=type_) for name, type_ in dataset.columns]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
    if dataset.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=dataset.version)
    return facets
