"""The signature: who signed or refused which candidate, at which checksum, having seen which warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from hailong.errors import PermanentError, UsageError
from hailong.publish import LOCK, ROLE
from hailong.publish.checksum import content_sha256
from hailong.publish.closing import stopped_by
from hailong.settings import Settings
from hailong.warehouse.connect import connect


@dataclass(frozen=True)
class Approval:
    """A decision on a candidate, recorded now (`created`) or found to stand already."""

    candidate_id: str
    content_sha256: str
    decision: str
    decided_by: str
    created: bool

    @property
    def message(self) -> str:
        state = "recorded" if self.created else "stood already"
        return (
            f"{self.decision} by {self.decided_by}: {self.candidate_id}, sha256 {self.content_sha256[:16]}… ({state})"
        )


@dataclass(frozen=True)
class GateRun:
    """What the gate said of a candidate at its checksum: disposition and ids of failed warnings."""

    run_id: str
    disposition: str
    warnings: tuple[str, ...]


def approve(
    settings: Settings,
    candidate_id: str,
    by: str,
    decision: str = "approved",
    warnings_seen: Sequence[str] = (),
    channel: str = "cli",
) -> Approval:
    """Record a decision. An approval needs a signer who is not the requester, a gate run that did not stop at this very
    checksum, and every warning of it quoted; a refusal needs the signer only. PermanentError says which is missing.
    """
    if decision not in ("approved", "rejected"):
        raise UsageError(f"'{decision}' is not a decision: approved or rejected")
    with connect(settings, ROLE) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        digest, requested_by = header(connection, candidate_id)
        _may_sign(settings, by, requested_by, candidate_id)
        seen = sorted(set(warnings_seen))
        if decision == "approved":
            _checked(connection, candidate_id, digest, seen)
        if latest(connection, candidate_id) == (decision, by, digest, seen):
            return Approval(candidate_id, digest, decision, by, created=False)
        connection.execute(
            "insert into publish.approval (candidate_id, content_sha256, decision, decided_by, warnings_seen, channel) "
            "values (%s, %s, %s, %s, %s, %s)",
            (candidate_id, digest, decision, by, seen, channel),
        )
        return Approval(candidate_id, digest, decision, by, created=True)


def header(connection: psycopg.Connection, candidate_id: str) -> tuple[str, str]:
    """(checksum, requester) of a candidate whose stored rows still have that checksum."""
    row = connection.execute(
        "select content_sha256, requested_by from publish.candidate where candidate_id = %s", (candidate_id,)
    ).fetchone()
    if row is None:
        known = connection.execute(
            "select candidate_id from publish.candidate order by created_at desc limit 5"
        ).fetchall()
        names = ", ".join(name for (name,) in known) or "there is none yet: `hailong candidate --period P`"
        raise PermanentError(f"no candidate '{candidate_id}'; the newest are: {names}")
    found = content_sha256(connection, "candidate", candidate_id)
    if found != row[0]:
        raise PermanentError(
            f"the rows of candidate {candidate_id} were changed after it was copied: their checksum is {found[:16]}…, "
            f"recorded was {row[0][:16]}…. Do not sign or publish it; find out who changed them, and copy a new candidate"
        )
    return row[0], row[1]


def latest(connection: psycopg.Connection, candidate_id: str) -> tuple[str, str, str, list[str]] | None:
    """(decision, decided_by, checksum, warnings seen) that stands for a candidate."""
    row = connection.execute(
        "select decision, decided_by, content_sha256, warnings_seen from publish.approval where candidate_id = %s "
        "order by decided_at desc limit 1",
        (candidate_id,),
    ).fetchone()
    return (row[0], row[1], row[2], row[3]) if row else None


def signature(settings: Settings, connection: psycopg.Connection, candidate_id: str) -> GateRun:
    """Prove that a candidate may be published as it stands now; the run of the gate that its signature rests on.

    Everything that was asked of the signer is asked again: rows of `publish.approval` may come by other ways than
    `approve`, and the gate may have warned anew since. PermanentError says what is missing.
    """
    digest, requested_by = header(connection, candidate_id)
    standing = latest(connection, candidate_id)
    if standing is None:
        raise PermanentError(f"candidate {candidate_id} is not signed: `hailong approve {candidate_id} --by NAME`")
    decision, by, signed_digest, seen = standing
    if decision != "approved":
        raise PermanentError(
            f"candidate {candidate_id} was refused by {by}: repair, build, and copy a new one (`hailong candidate --period P`, "
            "with `--late` when what repairs it came after the cut-off)"
        )
    if signed_digest != digest:
        raise PermanentError(f"candidate {candidate_id} was signed at another checksum: it must be signed anew")
    if settings.signers:
        _may_sign(settings, by, requested_by, candidate_id)
    elif by == requested_by:
        raise PermanentError(f"'{by}' asked for {candidate_id} and signed it: somebody else must sign")
    return _checked(connection, candidate_id, digest, seen)


def gate_run(connection: psycopg.Connection, candidate_id: str, digest: str) -> GateRun:
    """The newest run of the gate over a candidate at this checksum; PermanentError when there is none, or it stopped."""
    row = connection.execute(
        "select run_id, disposition from dq.run where candidate_id = %s and content_sha256 = %s "
        "order by finished_at desc limit 1",
        (candidate_id, digest),
    ).fetchone()
    period = candidate_id.rpartition(".")[0]
    if row is None:
        raise PermanentError(
            f"candidate {candidate_id} has not been through the gate: run `hailong gate --period {period}`"
        )
    if row[1] == "stop":
        raise PermanentError(
            f"the gate stopped candidate {candidate_id} (run {row[0]}): {', '.join(stopped_by(connection, row[0]))}. "
            "Repair at the source, ingest, build, and copy a new candidate; with `hailong candidate --late` when the cut-off is "
            "past, because what was loaded by then does not change"
        )
    warnings = connection.execute(
        "select expectation_id from dq.result where run_id = %s and not success and severity = 'warning' order by 1",
        (row[0],),
    ).fetchall()
    return GateRun(row[0], row[1], tuple(dict.fromkeys(name for (name,) in warnings)))


def _may_sign(settings: Settings, by: str, requested_by: str, candidate_id: str) -> None:
    if not settings.signers:
        raise PermanentError("nobody may sign: name the signers in HAILONG_SIGNERS, separated by commas")
    if by not in settings.signers:
        raise PermanentError(f"'{by}' may not sign {candidate_id}: the signers are {', '.join(settings.signers)}")
    if by == requested_by:
        raise PermanentError(f"'{by}' asked for {candidate_id} and may not sign it: somebody else must")


def _checked(connection: psycopg.Connection, candidate_id: str, digest: str, seen: Sequence[str]) -> GateRun:
    run = gate_run(connection, candidate_id, digest)
    unseen = [warning for warning in run.warnings if warning not in seen]
    if unseen:
        quoted = " ".join(f"--warning-seen {warning}" for warning in run.warnings)
        raise PermanentError(
            f"the gate warns about candidate {candidate_id} and the signature does not quote it: {', '.join(unseen)}. "
            f"Read them (run {run.run_id}), then sign with {quoted}"
        )
    return run
