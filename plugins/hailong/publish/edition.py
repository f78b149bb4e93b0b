"""The edition: a signed candidate, said once. Tables in one transaction; files are made from them afterwards."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from hailong.errors import PermanentError
from hailong.periods import Period, parse_period
from hailong.publish import LOCK, ROLE, annexes, opendata, points
from hailong.publish.approval import header, signature
from hailong.publish.candidate import INDEX_COLUMNS, K_COLUMNS, PARAMETER_COLUMNS, names
from hailong.publish.checksum import content_sha256
from hailong.publish.report import RENDERER_VERSION, render
from hailong.publish.small_cells import decide
from hailong.review import findings
from hailong.settings import Settings
from hailong.warehouse.connect import connect


@dataclass(frozen=True)
class Edition:
    """An edition, made now (`created`) or found to say the same already; `folder` holds its files."""

    edition_id: str
    period_code: str
    content_sha256: str
    folder: Path
    created: bool

    @property
    def message(self) -> str:
        state = "published" if self.created else "says exactly this already: nothing new was published"
        return f"Edition {self.edition_id} {state}, sha256 {self.content_sha256[:16]}…, files in {self.folder}"


def publish(settings: Settings, period_code: str, by: str) -> Edition:
    """Make the newest candidate of a period its edition, if it is signed at its checksum; then its files.

    Repeating it finishes what a killed run left. PermanentError when the candidate is not signed, was refused, was
    changed, or when the period has an edition with other content (a correction is a restatement).
    """
    period = parse_period(settings.rules, period_code)
    with connect(settings, ROLE) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        edition_id, digest, created = _tables(settings, connection, period, by)
        decide(settings, connection)
    folder = write_files(settings, edition_id)
    findings.close_published(settings, edition_id)
    return Edition(edition_id, period.code, digest, folder, created)


def _tables(settings: Settings, connection: psycopg.Connection, period: Period, by: str) -> tuple[str, str, bool]:
    row = connection.execute(
        "select candidate_id, restates from publish.candidate where period_code = %s and calendar_code = %s "
        "order by created_at desc limit 1",
        (period.code, period.calendar_code),
    ).fetchone()
    if row is None:
        raise PermanentError(
            f"the period {period} has no candidate: run `hailong candidate --period {period.code}` first"
        )
    candidate_id, restates = row
    digest, _ = header(connection, candidate_id)
    standing = connection.execute(
        "select edition_id, content_sha256, edition_no from publish.edition where period_code = %s and calendar_code = %s "
        "order by edition_no desc limit 1",
        (period.code, period.calendar_code),
    ).fetchone()
    if standing and standing[1] == digest:
        return standing[0], digest, False
    if standing and standing[0] != restates:
        raise PermanentError(
            f"the period {period} has the edition {standing[0]} with other content than candidate {candidate_id}. "
            "What was said is not overwritten: a correction is a restatement, signed anew: "
            f"`hailong restate --period {period.code} --reason TEXT --by NAME`"
        )
    run = signature(settings, connection, candidate_id)
    copied = _part(connection, candidate_id, points.NAME)
    if copied and not points.kept(points.folder(settings, candidate_id), copied):
        raise PermanentError(
            f"the points behind candidate {candidate_id} are missing or changed ({points.folder(settings, candidate_id)}): "
            f"nothing was published. Restore that folder from a backup, or `hailong candidate --period {period.code}` anew"
        )
    edition_no = standing[2] + 1 if standing else 1
    edition_id = f"{period.code}.e{edition_no}"
    connection.execute(
        "insert into publish.edition (edition_id, period_code, calendar_code, period_start, period_end, edition_no, "
        "candidate_id, as_of_batch, rules_sha256, policy_id, metric_version, code_version, content_sha256, "
        "previous_sha256, gate_run_id, published_by, legal_basis, supersedes, reason) "
        "select %s, period_code, calendar_code, period_start, period_end, %s, candidate_id, as_of_batch, rules_sha256, "
        "policy_id, metric_version, code_version, content_sha256, "
        "(select e.content_sha256 from publish.edition as e order by e.published_at desc limit 1), %s, %s, legal_basis, "
        "restates, reason from publish.candidate where candidate_id = %s",
        (edition_id, edition_no, run.run_id, by, candidate_id),
    )
    for table, columns in (("k_score", K_COLUMNS), ("index_score", INDEX_COLUMNS), ("parameter", PARAMETER_COLUMNS)):
        target = "edition_parameter" if table == "parameter" else table
        connection.execute(
            sql.SQL("insert into {} (edition_id, {}) select %s, {} from {} where candidate_id = %s").format(
                sql.Identifier("publish", target), names(columns), names(columns),
                sql.Identifier("publish", f"candidate_{table}"),
            ),
            (edition_id, candidate_id),
        )  # fmt: skip
    annexes.publish(connection, candidate_id, edition_id)
    if content_sha256(connection, "edition", edition_id) != digest or not annexes_as_copied(connection, edition_id):
        raise PermanentError(
            f"the rows of edition {edition_id} do not have the checksum that was signed: nothing was published. "
            "Something changes rows on their way in: look at the triggers and columns of publish.k_score, publish.index_score "
            "and publish.annex"
        )
    return edition_id, digest, True


def write_files(settings: Settings, edition_id: str) -> Path:
    """See that the files of an edition are there and are those recorded; make them from `publish` when they are not.

    They are made in a temporary folder and renamed, then recorded. PermanentError when files made again differ from
    what is recorded: the edition's files never change.
    """
    folder = settings.editions / edition_id
    with connect(settings, ROLE) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        recorded: dict[str, str] = dict(
            connection.execute(
                "select name, sha256 from publish.artifact where edition_id = %s", (edition_id,)
            ).fetchall()
        )
        if recorded and digests_of(folder) == recorded:
            return folder
        made = settings.editions / f".{edition_id}.new"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        render(settings, connection, edition_id, made)
        opendata.write(settings, edition_id, made)
        _bring_points(settings, connection, edition_id, made)
        digests = digests_of(made)
        if recorded and digests != recorded:
            shutil.rmtree(made)
            raise PermanentError(
                f"the files of edition {edition_id} in {folder} are missing or changed, and this version of the program "
                f"({RENDERER_VERSION}) does not make the recorded bytes again: restore the folder from a backup"
            )
        shutil.rmtree(folder, ignore_errors=True)  # not recorded, or not as recorded: a killed run's, or tampered with
        made.rename(folder)
        if not recorded:
            for name, digest in digests.items():
                connection.execute(
                    "insert into publish.artifact (edition_id, name, bytes, sha256, renderer_version) "
                    "values (%s, %s, %s, %s, %s)",
                    (edition_id, name, (folder / name).stat().st_size, digest, RENDERER_VERSION),
                )
    return folder


def annexes_as_copied(connection: psycopg.Connection, edition_id: str) -> bool:
    """Are an edition's annexes those that were copied with its candidate? One older than annexes has none."""
    rows, found = annexes.checksum(connection, "edition", edition_id)
    copied = _part(connection, _candidate(connection, edition_id), annexes.PART)
    return found == copied if copied else not rows


def _bring_points(settings: Settings, connection: psycopg.Connection, edition_id: str, made: Path) -> None:
    """Put the candidate's points among the edition's files. PermanentError when they are not those that were recorded."""
    candidate_id = _candidate(connection, edition_id)
    copied = _part(connection, candidate_id, points.NAME)
    if copied is None:
        return  # its candidate is older than points
    found = [points.folder(settings, candidate_id), settings.editions / edition_id]
    whole = [place for place in found if points.kept(place, copied)]
    if not whole:
        shutil.rmtree(made)
        raise PermanentError(
            f"the points behind edition {edition_id} are missing or changed ({found[0]}): restore that folder from a backup"
        )
    shutil.copy2(whole[0] / points.NAME, made / points.NAME)  # keeps its mode: not for everybody's eyes


def _candidate(connection: psycopg.Connection, edition_id: str) -> str:
    row = connection.execute("select candidate_id from publish.edition where edition_id = %s", (edition_id,)).fetchone()
    assert row
    return str(row[0])


def _part(connection: psycopg.Connection, candidate_id: str, part: str) -> str | None:
    row = connection.execute(
        "select sha256 from publish.candidate_part where candidate_id = %s and part = %s", (candidate_id, part)
    ).fetchone()
    return row[0] if row else None


def digests_of(folder: Path) -> dict[str, str]:
    """File (below the folder, with `/`) → SHA-256 of the files that lie in it; none when there is no folder."""
    return {
        path.relative_to(folder).as_posix(): points.digest(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
