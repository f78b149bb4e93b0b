"""Which role may do what, as one table: what is not in it must be refused, and what is must work.

Looked at are the rights in the catalog (every role × every relation × every privilege, so that a relation that nobody thought of
fails) and acts that are really tried by a login that has the one role and nothing else.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from hailong.settings import Settings
from hailong.warehouse.connect import connect, dsn

READ, ADD, CHANGE = frozenset({"SELECT"}), frozenset({"SELECT", "INSERT"}), frozenset({"SELECT", "INSERT", "UPDATE"})
SOME = frozenset({"some columns"})
ALL = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"})

# Place → the relations in it. Schemas whose relations come from contracts and models are one place; of the others each is named.
PLACES: dict[str, tuple[str, ...]] = {
    "raw": ("raw.*",),
    "staging": ("staging.*",),
    "rules": ("rules.*",),
    "models": ("core.*", "facts.*"),
    "marts": ("marts.*",),
    "officials": ("officials.*",),
    "provisional": ("provisional.k_score", "provisional.index_score"),
    "provisional of units": ("provisional.unit_k_score", "provisional.unit_index_score"),
    "batches": ("ops.batch",),
    "ledger": ("ops.batch_finding", "ops.snapshot", "ops.quarantine_release", "ops.purge"),
    "quarantine": ("ops.quarantine",),
    "builds": ("ops.build",),
    "results of dbt": ("ops.dbt_result",),
    "notes of a build": ("ops.touched_record", "ops.touched_cell", "ops.touched_period"),
    "restatement under way": ("ops.restated_record",),
    "notifications": ("ops.notification",),
    "migrations": ("ops.migration",),
    "quality": ("dq.run", "dq.result", "dq.finding", "dq.finding_event", "dq.digest"),
    "candidates": (
        "publish.candidate", "publish.candidate_k_score", "publish.candidate_index_score", "publish.candidate_parameter",
        "publish.candidate_part", "publish.candidate_annex", "publish.approval", "publish.artifact", "publish.public_row",
    ),
    "differences": ("publish.candidate_difference",),
    "editions": ("publish.edition",),
    "scores": ("publish.k_score",),
    "indices": ("publish.index_score",),
    "parameters": ("publish.edition_parameter",),
    "annexes": ("publish.annex",),
    "views of editions": ("publish.k_score_latest", "publish.index_score_latest", "publish.edition_diff"),
    "logins of units": ("publish.unit_login",),
    "own units": ("publish.own_unit",),
    "views of units": ("publish.unit_k_score", "publish.unit_index_score"),
    "open": ("open.*",),
}  # fmt: skip
_SAID = ("differences", "editions", "scores", "indices", "parameters", "annexes")
_LEDGER = {name: READ for name in ("batches", "ledger", "builds", "results of dbt", "migrations")}
_BUILT = {name: READ for name in ("rules", "models", "marts")}

# Role → what it may do where. Everything else is refused, the superuser and the owner apart.
MAY: dict[str, dict[str, frozenset[str]]] = {
    "hailong_loader": _LEDGER
    | {"raw": ALL, "batches": ADD | {"REFERENCES"}, "ledger": ADD, "quarantine": ADD, "marts": READ},
    "hailong_transformer": _LEDGER
    | {name: ALL for name in ("rules", "staging", "models", "marts", "officials", "provisional",
                           "provisional of units", "notes of a build", "restatement under way")}
    | {"raw": READ, "quarantine": READ, "builds": CHANGE, "results of dbt": ADD, "quality": READ}
    | {"logins of units": READ, "own units": READ},
    "hailong_gate": _LEDGER
    | _BUILT
    | {name: READ for name in (*_SAID, "raw", "quarantine", "notes of a build", "candidates", "views of editions", "open")}
    | {"quality": ALL, "notifications": ADD},
    "hailong_publisher": _LEDGER
    | _BUILT
    | {name: ADD for name in (*_SAID, "candidates", "notifications")}
    | {"quality": READ, "views of editions": READ, "open": READ},
    "hailong_reader": _LEDGER
    | _BUILT
    | {name: READ for name in (*_SAID, "candidates", "views of editions", "open", "quality", "notifications")}
    | {"notes of a build": READ, "logins of units": READ, "provisional": READ, "provisional of units": READ},
    "hailong_bi_reader": {name: READ for name in (*_SAID, "views of editions", "open")},
    "hailong_unit_reader": {"editions": SOME, "scores": SOME, "indices": READ, "parameters": READ}
    | {name: READ for name in ("logins of units", "own units", "views of units", "provisional of units", "open")},
    "hailong_open_reader": {"open": READ},
    "hailong_official_reader": {"officials": READ},
}  # fmt: skip
# What the program's own login has in production: it migrates nothing and is nobody's administrator.
STATIONS = tuple(f"hailong_{name}" for name in ("loader", "transformer", "gate", "publisher", "reader", "open_reader"))
OWNER, UNIT_READER = "hailong_owner", "hailong_unit_reader"
# What a unit is not given of these tables: what C goes into, and what can be tried against a checksum.
KEPT_FROM_UNITS = {
    "publish.edition": {"reason", "candidate_id", "as_of_batch", "rules_sha256", "code_version", "content_sha256",
                        "previous_sha256", "gate_run_id", "published_by"},
    "publish.k_score": {"c", "k", "verdict", "verdict_bound", "status", "status_reason", "rank_in_group", "verdict_stability",
                        "k_min", "k_max", "small_sample", "near_threshold"},
}  # fmt: skip
ROWS_BY_ROLE = {
    "publish.unit_login",
    "publish.k_score",
    "publish.index_score",
    "publish.annex",
    "publish.candidate_difference",
}
NOT_APPEND_ONLY = {"ops.build", "ops.dbt_result", "ops.migration"} | {
    f"ops.{name}" for name in ("touched_record", "touched_cell", "touched_period", "restated_record")
}


@dataclass(frozen=True)
class Act:
    """Something to try. `by`: the roles for which it must work; everybody else must be told that they may not.

    `needs`: a relation without which there is nothing to try it on (before the first build).
    """

    name: str
    statement: str
    by: frozenset[str] = frozenset()
    needs: str | None = None


def only(*names: str) -> frozenset[str]:
    return frozenset(f"hailong_{name}" for name in names)


_RUN = (
    "insert into dq.run (run_id, scope, as_of_batch, started_at, finished_at, disposition, expectations) "
    "values ('matrix', 'landed', 1, now(), now(), 'pass', 1)"
)
_BATCH = (
    "insert into ops.batch (feed, landing_uri, landing_sha256, received_rows, loaded_rows, unchanged_rows, duplicate_rows, "
    "quarantined_rows, started_at, contract_version, code_version) "
    "values ('x', 'x', repeat('e', 64), 0, 0, 0, 0, 0, now(), '1', '1')"
)
_RELEASE = "insert into ops.quarantine_release (quarantine_id, outcome, released_by) values (1, 'superseded', 'x')"
_BUILD = "insert into ops.build (as_of_batch, rules_sha256, full_refresh) values (0, 'x', true)"
_PART = "insert into publish.candidate_part select candidate_id, 'annexes', 0, repeat('a', 64) from publish.candidate limit 0"
_TOLD = (
    "insert into ops.notification (topic, state_sha256, channel, roles, outcome) "
    "values ('x', repeat('a', 64), 'mail', '{x}', 'sent')"
)
_READS_RAW, _SEES = only("loader", "transformer", "gate"), only("gate", "publisher", "reader")
_READS_EDITIONS = _SEES | only("bi_reader")

ACTS = (
    Act("read raw", "select * from raw.dossier limit 1", _READS_RAW),
    Act("write raw", "insert into raw.rating (batch_id, record_key, op, version_hash) values (1, 'matrix', 'upsert', 'x')",
        only("loader")),
    Act("change raw", "update raw.dossier set version_hash = version_hash where false", only("loader")),  # no row, no trigger
    Act("read what is in quarantine", "select payload_minimised from ops.quarantine limit 1", _READS_RAW),
    Act("release from quarantine", _RELEASE, only("loader")),
    Act("write the ledger", _BATCH, only("loader")),
    Act("change the ledger", "update ops.batch set loaded_rows = 0"),
    Act("empty the ledger", "truncate ops.batch cascade"),
    Act("note a build", _BUILD, only("transformer")),
    Act("delete a build", "delete from ops.build"),
    Act("read dossiers", "select * from core.core_dossier limit 1", _SEES | only("transformer"), "core.core_dossier"),
    Act("read the marts", "select * from marts.k_score limit 1", _SEES | only("loader", "transformer"), "marts.k_score"),
    Act("change the marts", "update marts.k_score set k = k where false", only("transformer"), "marts.k_score"),
    Act("read staging", "select * from staging.stg_register__unit limit 1", only("transformer"), "staging.stg_register__unit"),
    Act("read officials", "select * from officials.official_score limit 1", only("transformer", "official_reader"),
        "officials.official_score"),
    Act("read quality", "select * from dq.result limit 1", _SEES | only("transformer")),
    Act("write quality", _RUN, only("gate")),
    Act("read findings as they stand", "select * from dq.finding_on(current_date)", _SEES | only("transformer")),
    Act("read who was told", "select * from ops.notification limit 1", _SEES),
    Act("say that somebody was told", _TOLD, only("gate", "publisher")),
    Act("read candidates", "select * from publish.candidate_k_score limit 1", _SEES),
    Act("write to candidates", _PART, only("publisher")),
    Act("sign", "insert into publish.approval select candidate_id, content_sha256, 'approved', 'x', now(), '{}', 'cli' "
        "from publish.candidate limit 0", only("publisher")),
    Act("read every K", "select k from publish.k_score limit 1", _READS_EDITIONS),
    Act("read every C", "select c from publish.k_score limit 1", _READS_EDITIONS),
    Act("count by C", "select count(*) from publish.k_score where c < 1", _READS_EDITIONS),
    Act("read a signed checksum", "select content_sha256 from publish.edition", _READS_EDITIONS),
    Act("read why public rows are hidden", "select c_hidden_because from publish.public_row", _SEES),
    Act("read the annexes", "select * from publish.annex limit 1", _READS_EDITIONS),
    Act("read the differences", "select * from publish.edition_diff limit 1", _READS_EDITIONS),
    Act("read the own row", "select * from publish.unit_k_score", only("unit_reader")),
    Act("read the own indices", "select * from publish.unit_index_score", only("unit_reader")),
    Act("read tonight's K of all", "select k from provisional.k_score limit 1", only("reader", "transformer"),
        "provisional.k_score"),
    Act("read the own K of tonight", "select * from provisional.unit_k_score", only("unit_reader", "reader", "transformer"),
        "provisional.unit_k_score"),
    Act("read what is open", "select * from open.k_score limit 1",
        only("gate", "publisher", "reader", "bi_reader", "unit_reader", "open_reader")),
    Act("say more in an edition", "insert into publish.k_score select * from publish.k_score limit 0", only("publisher")),
    Act("take a unit", "insert into publish.unit_login (login, unit_code, is_granted, by) values (current_user, 'U', true, 'x')"),
    Act("take another policy", "alter policy own_unit on publish.k_score using (true)"),
    Act("drop a policy", "drop policy own_unit on publish.k_score"),
    Act("do without rows' security", "alter table publish.k_score disable row level security"),
    Act("replace a view", "create or replace view open.edition as select 1"),
    Act("drop an edition", "drop table publish.k_score cascade"),
    Act("drop what is open", "drop schema open cascade"),
    Act("drop the ledger", "drop table ops.batch cascade"),
    Act("create in public", "create table public.matrix (x int)"),
    Act("create in publish", "create table publish.matrix (x int)"),
    Act("create in ops", "create table ops.matrix (x int)"),
    Act("create in open", "create view open.matrix as select 1"),
    Act("create a schema", "create schema matrix", only("transformer")),  # past states stand beside the real one
    Act("make a role", "create role hailong_matrix"),
    Act("make a superuser", "alter role current_user superuser"),
    Act("be somebody else", "set session authorization hailong_owner"),
    Act("switch triggers off for the session", "set session_replication_role = replica"),
    Act("read passwords", "select * from pg_authid"),
    Act("read a file", "select pg_read_file('PG_VERSION')"),
    Act("run a program", "copy (select 1) to program 'true'"),
    *(
        Act(f"{verb} publish.{table}", statement.format(table=table))
        for table in ("edition", "k_score", "index_score", "approval", "candidate", "public_row", "annex", "unit_login")
        for verb, statement in (
            ("delete", "delete from publish.{table}"),
            ("empty", "truncate publish.{table} cascade"),
            ("silence", "alter table publish.{table} disable trigger all"),
        )
    ),
    Act("change an edition", "update publish.k_score set k = 22"),
    Act("change a header", "update publish.edition set reason = 'x'"),
    Act("change a signature", "update publish.approval set decided_by = 'x'"),
    *(Act(f"become {role}", f"set role {role}") for role in (*MAY, OWNER)),
)  # fmt: skip


@dataclass(frozen=True)
class Logins:
    """A login for each role, with that role and nothing else: role → name and address."""

    names: Mapping[str, str]
    addresses: Mapping[str, str]

    def connect(self, role: str) -> psycopg.Connection:
        return psycopg.connect(self.addresses[role], autocommit=True, connect_timeout=10)


@contextmanager
def logins(settings: Settings, more: Mapping[str, Collection[str]] | None = None) -> Iterator[Logins]:
    """Logins for all roles, and `more` of them (any name → roles), as long as the block lasts."""
    wanted: dict[str, Collection[str]] = {role: [role] for role in MAY} | dict(more or {})
    mark, password = uuid.uuid4().hex[:8], uuid.uuid4().hex
    names = {key: f"m_{mark}_{number}" for number, key in enumerate(wanted)}
    parts = urlsplit(dsn(settings))
    host = parts.netloc.rpartition("@")[2]
    with connect(settings, autocommit=True) as connection:
        for key, roles in wanted.items():
            connection.execute(
                sql.SQL("create role {} login password {} in role {}").format(
                    sql.Identifier(names[key]), sql.Literal(password), sql.SQL(", ").join(map(sql.Identifier, roles))
                )
            )
        try:
            yield Logins(
                names,
                {
                    key: urlunsplit((parts.scheme, f"{name}:{password}@{host}", parts.path, parts.query, ""))
                    for key, name in names.items()
                },
            )
        finally:
            for name in names.values():
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def place_of(relation: str) -> str | None:
    found = [place for place, patterns in PLACES.items() if any(fnmatchcase(relation, p) for p in patterns)]
    return found[0] if len(found) == 1 else None


def rights_that_differ(settings: Settings, may: Mapping[str, Mapping[str, frozenset[str]]] = MAY) -> list[str]:
    """What the catalog grants and the table does not say, or the other way round; relations without a place."""
    wrong = []
    with connect(settings) as connection:
        relations = connection.execute(
            "select c.oid, n.nspname || '.' || c.relname, c.relkind = 'S', pg_get_userbyid(c.relowner) from pg_class as c "
            "inner join pg_namespace as n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') "
            r"and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 2"
        ).fetchall()
        for oid, name, is_sequence, owner in relations:
            if is_sequence:  # numbers of identity columns: nobody asks for one
                held = {role for role in may if role != owner and _sequence(connection, role, oid)}
                wrong += [f"{role} may use the sequence {name}" for role in sorted(held)]
                continue
            place = place_of(name)
            if place is None:
                wrong.append(f"{name} has no place, or two: say in PLACES what it is and who may read it")
                continue
            for role, places in may.items():
                expected, found = places.get(place, frozenset()), _rights(connection, role, oid)
                if found != expected:
                    wrong.append(f"{role} on {name}: has {sorted(found)}, should have {sorted(expected)}")
        empty = [place for place in PLACES if place not in {place_of(name) for _, name, _, _ in relations}]
        wrong += [f"nothing is in the place '{place}'" for place in empty if place not in BUILT_LATER]
    return wrong


BUILT_LATER = {"staging", "rules", "models", "marts", "officials", "provisional", "provisional of units"}


def _rights(connection: psycopg.Connection, role: str, oid: int) -> frozenset[str]:
    row = connection.execute(
        "select array(select p from unnest(%(all)s::text[]) as p where has_table_privilege(%(role)s, %(oid)s::oid, p)), "
        "exists (select 1 from unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) as p "
        "where has_any_column_privilege(%(role)s, %(oid)s::oid, p) and not has_table_privilege(%(role)s, %(oid)s::oid, p))",
        {"all": sorted(ALL), "role": role, "oid": oid},
    ).fetchone()
    assert row
    return frozenset(row[0]) | (SOME if row[1] else frozenset())


def _sequence(connection: psycopg.Connection, role: str, oid: int) -> bool:
    row = connection.execute(
        "select has_sequence_privilege(%s, %s::oid, 'USAGE, SELECT, UPDATE')", (role, oid)
    ).fetchone()
    return bool(row and row[0])


def kept_columns(settings: Settings) -> dict[str, set[str]]:
    """Of the tables that a unit reads in part, the columns that it may not read."""
    with connect(settings) as connection:
        return {
            table: {
                name
                for (name,) in connection.execute(
                    "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped "
                    "and not has_column_privilege('hailong_unit_reader', attrelid, attnum, 'SELECT')",
                    (table,),
                ).fetchall()
            }
            for table in KEPT_FROM_UNITS
        }


def loose_ends(settings: Settings) -> list[str]:
    """What else would open a door: attributes and memberships of roles, schemas, functions, policies, triggers."""
    wrong = []
    with connect(settings) as connection:
        roles = [*MAY, OWNER]
        wrong += [
            f"{role} has an attribute of a login or an administrator"
            for (role,) in connection.execute(
                "select rolname from pg_roles where rolname = any(%s) and (rolsuper or rolcanlogin or rolcreaterole or "
                "rolcreatedb or rolbypassrls or rolreplication)",
                (roles,),
            ).fetchall()
        ]
        wrong += [
            f"there is a role {role} that the matrix does not know"
            for (role,) in connection.execute(
                r"select rolname from pg_roles where rolname like 'hailong\_%%' and not rolcanlogin and rolname <> all(%s)",
                (roles,),
            ).fetchall()
        ]
        wrong += [
            f"{member} is a member of {role}"
            for member, role in connection.execute(
                "select m.rolname, r.rolname from pg_roles as m, pg_roles as r where m.rolname = any(%s) and m.oid <> r.oid "
                "and pg_has_role(m.oid, r.oid, 'member')",
                (roles,),
            ).fetchall()
        ]
        own = {("hailong_loader", "raw"), ("hailong_gate", "dq")} | {
            ("hailong_transformer", schema)
            for schema in ("rules", "staging", "core", "facts", "marts", "officials", "provisional")
        }
        wrong += [
            f"{role} may create in {schema}"
            for role, schema in connection.execute(
                "select r.rolname, n.nspname from pg_roles as r, pg_namespace as n where r.rolname = any(%s) "
                r"and n.nspname !~ '^pg_(toast|temp)' and has_schema_privilege(r.oid, n.oid, 'CREATE')",
                (list(MAY),),
            ).fetchall()
            if (role, schema) not in own
        ]
        wrong += [
            f"{function} runs with the rights of its owner"
            for (function,) in connection.execute(
                "select p.oid::regprocedure::text from pg_proc as p inner join pg_namespace as n on n.oid = p.pronamespace "
                r"where p.prosecdef and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
            ).fetchall()
        ]
        secured = {
            name: set(policies)
            for name, policies in connection.execute(
                "select n.nspname || '.' || c.relname, array(select unnest(polroles)::regrole::text from pg_policy "
                "where polrelid = c.oid) from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace "
                "where c.relrowsecurity"
            ).fetchall()
        }
        wrong += [f"rows of {name}: secured or not, other than said" for name in secured.keys() ^ ROWS_BY_ROLE]
        for (
            name,
            roles_with_policy,
        ) in secured.items():  # without a policy a role would read nothing, and nobody would notice
            reading = {role for role, places in MAY.items() if places.get(place_of(name) or "")}
            wrong += [f"policies of {name} for {role}" for role in reading ^ roles_with_policy]
        wrong += [
            f"{name} can be changed: a trigger is missing or can be switched off"
            for name, always in connection.execute(
                "select n.nspname || '.' || c.relname, (select count(*) from pg_trigger as t inner join pg_proc as p "
                "on p.oid = t.tgfoid where t.tgrelid = c.oid and t.tgenabled = 'A' and p.proname = 'refuse_change') "
                "from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace "
                "where c.relkind = 'r' and n.nspname in ('publish', 'dq', 'ops') order by 1"
            ).fetchall()
            if always != 2 and name not in NOT_APPEND_ONLY
        ]
        wrong += [
            f"the view {name} reads with the rights of its owner"
            for (name,) in connection.execute(
                "select 'publish.' || relname from pg_class where relnamespace = 'publish'::regnamespace and relkind = 'v' "
                "and not coalesce(reloptions @> '{security_invoker=true}', false)"
            ).fetchall()
        ]
    return wrong


def acts_that_end_otherwise(settings: Settings, acts: tuple[Act, ...] = ACTS) -> list[str]:
    """Acts that a login could do and should not, or could not and should; each is rolled back."""
    wrong = []
    with connect(settings) as connection:
        there = {
            act.needs: connection.execute("select to_regclass(%s)", (act.needs,)).fetchone() != (None,)
            for act in acts
            if act.needs
        }
    with logins(settings) as made:
        for role in MAY:
            with made.connect(role) as connection:
                for act in acts:
                    if act.needs and not there[act.needs]:
                        continue
                    ended = _try(connection, act.statement)
                    may = role in act.by or act.name == f"become {role}"
                    if ended != ("worked" if may else "refused"):
                        wrong.append(f"{role}: {act.name}: {ended}, should be {'worked' if may else 'refused'}")
    return wrong


def _try(connection: psycopg.Connection, statement: str) -> str:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)  # type: ignore[call-overload]
    except psycopg.errors.InsufficientPrivilege:
        return "refused"
    except psycopg.Error as error:
        return re.sub(r"\s+", " ", f"{type(error).__name__} {error}")
    finally:
        connection.execute("reset role")
    return "worked"


def everything_that_differs(settings: Settings) -> list[str]:
    kept = kept_columns(settings)
    wrong = [
        f"columns of {name} kept from units: {sorted(kept[name])}"
        for name in kept
        if kept[name] != KEPT_FROM_UNITS[name]
    ]
    return wrong + rights_that_differ(settings) + loose_ends(settings) + acts_that_end_otherwise(settings)
