"""Verification: is what was said still stored as it was signed, and do its own rules and raw rows still give it?

`verify` changes nothing that was said. What an administrator can do past every trigger (rows, files, whole editions) it finds,
except the removal of the newest edition together with its folder: keep checksums elsewhere too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import psycopg
from psycopg.rows import class_row

from hailong.errors import PermanentError
from hailong.publish.checksum import MODELS, Content, content_sha256, differences, made, said
from hailong.publish.edition import annexes_as_copied, digests_of
from hailong.settings import Settings
from hailong.warehouse import build as building
from hailong.warehouse import rules
from hailong.warehouse.connect import connect

ROLE = "hailong_reader"
SHOWN = 5  # differences that a line tells; the rest are counted

CHANGED = (
    "Something was changed after it was said: do not make it again or overwrite it; find out who did, and restore database and "
    "folder from a backup (docs/runbook.md)."
)
UNFINISHED = "Files of an edition were never recorded: `hailong publish` finishes what a killed run left."
NOT_MADE_AGAIN = (
    "The same rows by the same rules gave something else: another version of the program, or raw rows that were changed "
    "(`hailong replay FEED --check`). What was said stands (docs/runbook.md)."
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `against`: what speaks against it, empty when nothing does; `then`: what is to be done."""

    subject: str
    what: str
    against: str
    then: str


@dataclass(frozen=True)
class Verification:
    """Everything that was looked at. `told`: what the rules of today would give, which speaks against nothing."""

    checks: tuple[Check, ...]
    told: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not any(check.against for check in self.checks)

    @property
    def way_out(self) -> str:
        return " ".join(dict.fromkeys(check.then for check in self.checks if check.against))


@dataclass(frozen=True)
class _Edition:
    edition_id: str
    period_code: str
    candidate_id: str
    as_of_batch: int
    rules_sha256: str
    content_sha256: str
    previous_sha256: str | None
    timezone: str | None


def verify(
    settings: Settings,
    edition_id: str | None = None,
    chain: bool = False,
    current_rules: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Verification:
    """Compare an edition with its signature, its files, and what its own rule set makes of the raw rows it was made of.

    `chain` looks at every edition's stored rows, signature and files, and at their order; nothing is built for that.
    `current_rules` also builds the same raw rows by the rules of today. PermanentError when there is no such edition, or
    when its rule set or its raw rows are not kept any more.
    """
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read")
        editions = _editions(connection)
        asked = _asked(editions, edition_id) if edition_id else None
        looked_at = editions if chain else [asked] if asked else []
        checks = [check for edition in looked_at for check in _stored(connection, settings, edition)]
        if chain:
            checks += _chain(settings, editions)
        was = said(connection, asked.edition_id) if asked else {}
    told: tuple[str, ...] = ()
    if asked:
        again = differences(was, _made_again(settings, asked, asked.rules_sha256, progress))
        what = "its own rules and raw rows give it again"
        checks.append(Check(asked.edition_id, what, _shortened(again), NOT_MADE_AGAIN))
        if current_rules:
            today = differences(was, _made_again(settings, asked, None, progress))
            told = (f"The rules of today would give {_shortened(today) or 'the same'}.",)
    return Verification(tuple(checks), told)


def _editions(connection: psycopg.Connection) -> list[_Edition]:
    with connection.cursor(row_factory=class_row(_Edition)) as cursor:
        return cursor.execute(
            "select e.edition_id, e.period_code, e.candidate_id, e.as_of_batch, e.rules_sha256, e.content_sha256, "
            "e.previous_sha256, b.timezone from publish.edition as e inner join publish.candidate as c using (candidate_id) "
            "left join ops.build as b on c.build_id = b.build_id order by e.published_at, e.edition_id"
        ).fetchall()


def _asked(editions: list[_Edition], edition_id: str) -> _Edition:
    for edition in editions:
        if edition.edition_id == edition_id:
            return edition
    newest = ", ".join(edition.edition_id for edition in editions[:-6:-1])
    raise PermanentError(f"no edition '{edition_id}'; the newest are: {newest or 'there is none yet'}")


def _stored(connection: psycopg.Connection, settings: Settings, edition: _Edition) -> list[Check]:
    """What can be said of an edition from what is stored: its rows, the copy that was signed, the signature, its files."""
    name, digest = edition.edition_id, edition.content_sha256
    found = content_sha256(connection, "edition", name)
    copied = content_sha256(connection, "candidate", edition.candidate_id)
    signature = connection.execute(
        "select a.decision, a.content_sha256, a.decided_by = c.requested_by from publish.approval as a "
        "inner join publish.candidate as c using (candidate_id) inner join publish.edition as e using (candidate_id) "
        "where e.edition_id = %s and a.decided_at <= e.published_at order by a.decided_at desc limit 1",
        (name,),
    ).fetchone()
    if signature is None:
        unsigned = "nobody signed it before it was published"
    elif signature[0] != "approved":
        unsigned = "it was refused before it was published"
    elif signature[1] != digest:
        unsigned = f"what was signed is {signature[1][:16]}…"
    else:
        unsigned = "who asked for it signed it" if signature[2] else ""
    recorded: dict[str, str] = dict(
        connection.execute("select name, sha256 from publish.artifact where edition_id = %s", (name,)).fetchall()
    )
    files = _files(recorded, digests_of(settings.editions / name))
    told = {
        "its rows are those that were published": "" if found == digest else f"they are {found[:16]}… now",
        "the copy that was signed is as it was": "" if copied == digest else f"it is {copied[:16]}… now",
        "its annexes are those that were copied": "" if annexes_as_copied(connection, name) else "they are others now",
        "it was signed at this checksum by somebody else": unsigned,
    }
    return [
        *(Check(name, what, against, CHANGED) for what, against in told.items()),
        Check(name, "its files are those recorded", files, CHANGED if recorded else UNFINISHED),
    ]


def _files(recorded: dict[str, str], found: dict[str, str]) -> str:
    if not recorded:
        return "none are recorded"
    kinds = {
        "missing": recorded.keys() - found.keys(),
        "never recorded": found.keys() - recorded.keys(),
        "changed": {name for name in recorded.keys() & found.keys() if recorded[name] != found[name]},
    }
    return "; ".join(f"{kind}: {', '.join(sorted(names))}" for kind, names in kinds.items() if names)


def _chain(settings: Settings, editions: list[_Edition]) -> list[Check]:
    """Each edition names the checksum of the one published before it; each folder belongs to an edition."""
    checks, before = [], None
    for edition in editions:
        named = edition.previous_sha256
        broken = "" if named == before else f"it names {_short(named)}, and before it stands {_short(before)}"
        checks.append(Check(edition.edition_id, "it follows the edition that it names", broken, CHANGED))
        before = edition.content_sha256
    known = {edition.edition_id for edition in editions}
    folders = settings.editions.iterdir() if settings.editions.is_dir() else []
    strangers = sorted(path.name for path in folders if path.name not in known and not path.name.startswith("."))
    checks.append(Check("editions", "every folder belongs to an edition", ", ".join(strangers), CHANGED))
    return checks


def _short(digest: str | None) -> str:
    return f"{digest[:16]}…" if digest else "none"


def _made_again(
    settings: Settings, edition: _Edition, sha256: str | None, progress: Callable[[str], None] | None
) -> Content:
    """What a rule set (None: that of today) makes of an edition's raw rows."""
    raw_rows_kept(settings, edition.edition_id)
    ruled = rules.laid_out(settings, sha256) if sha256 else nullcontext(settings)
    with building.side_state(settings) as connection, ruled as past:
        past = replace(past, timezone=edition.timezone or settings.timezone)
        building.build(past, as_of=edition.as_of_batch, beside=True, only=MODELS, progress=progress)
        return made(connection, f"{building.BESIDE}marts", edition.period_code)


def raw_rows_kept(settings: Settings, edition_id: str) -> None:
    """PermanentError when raw rows that an edition may have counted were purged since."""
    with connect(settings, ROLE) as connection:
        gone = connection.execute(
            "select string_agg(distinct p.feed, ', ' order by p.feed), max(p.purged_at) from publish.edition as e "
            "inner join ops.purge as p on e.as_of_batch >= p.batch_id and e.published_at < p.purged_at "
            "where e.edition_id = %s",
            (edition_id,),
        ).fetchone()
    if gone and gone[0]:
        raise PermanentError(
            f"{edition_id} cannot be made again: raw rows of {gone[0]} that it may have counted were purged when their retention "
            f"had passed, last on {gone[1]:%d/%m/%Y} (ops.purge). `hailong verify --chain` looks at what is stored"
        )


def _shortened(found: list[str]) -> str:
    if not found:
        return ""
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{len(found)} other values: {'; '.join(found[:SHOWN])}{more}"
