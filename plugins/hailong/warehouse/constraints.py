"""Proof that what the models' contracts declare stands in the database: keys and checks vanish silently otherwise."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from hailong.errors import PermanentError


@dataclass(frozen=True, order=True)
class Constraint:
    """A declared or found constraint, in words that can be compared."""

    table: str
    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what} on {self.table}"


def prove(connection: psycopg.Connection, manifest: Mapping[str, Any], built: Collection[str] | None = None) -> int:
    """Compare pg_constraint with the manifest, or of it with the models that were built; how many were found standing.

    PermanentError names every one that is missing, and also a manifest that declares none.
    """
    wanted = declared(manifest, built)
    if not wanted:
        raise PermanentError("the manifest of the build declares no constraint at all: is it the right rule set?")
    missing = sorted(wanted - present(connection, sorted({constraint.table for constraint in wanted})))
    if missing:
        raise PermanentError(
            "declared in the models' contracts but not enforced in the database: "
            + "; ".join(map(str, missing))
            + ". Someone dropped or disabled it. Rebuild all tables with `hailong build --full`."
        )
    return len(wanted)


def declared(manifest: Mapping[str, Any], built: Collection[str] | None = None) -> set[Constraint]:
    """Primary and foreign keys, named checks and not-nulls of every model whose contract is enforced in a table."""
    models = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model"
        and node["config"]["materialized"] in ("table", "incremental")
        and node["config"].get("contract", {}).get("enforced")
        and (built is None or node["unique_id"] in built)
    ]
    names = {_bare(node["relation_name"]): _table(node) for node in models}
    found: set[Constraint] = set()
    for node in models:
        found.update(_declared_of(node, names))
    return found


def _declared_of(node: Mapping[str, Any], names: Mapping[str, str]) -> Iterable[Constraint]:
    table = _table(node)
    for constraint in node.get("constraints") or []:
        columns = ", ".join(constraint.get("columns") or [])
        match constraint["type"]:
            case "primary_key":
                yield Constraint(table, "primary key", f"({columns})")
                for column in constraint["columns"]:
                    yield Constraint(table, "not null", f"({column})")
            case "foreign_key":
                target = names.get(_bare(constraint["to"]), _bare(constraint["to"]))
                to_columns = ", ".join(constraint["to_columns"])
                yield Constraint(table, "foreign key", f"({columns}) to {target} ({to_columns})")
            case "check":
                if not constraint.get("name"):
                    raise PermanentError(
                        f"a check of {table} has no name, so it cannot be proved: {constraint['expression']}"
                    )
                yield Constraint(table, "check", constraint["name"])
            case other:
                raise PermanentError(
                    f"the contract of {table} declares a constraint of type '{other}', which is not proved"
                )
    for name, column in node["columns"].items():
        if any(constraint["type"] == "not_null" for constraint in column.get("constraints") or []):
            yield Constraint(table, "not null", f"({name})")


def _table(node: Mapping[str, Any]) -> str:
    return f"{node['schema']}.{node['alias']}"


def _bare(relation: str) -> str:
    """`"hailong"."core"."dim_unit"` and `core.dim_unit` alike as `core.dim_unit`."""
    return ".".join(relation.replace('"', "").split(".")[-2:])


_KEYS = """
select
    n.nspname || '.' || t.relname,
    c.contype::text,
    c.conname,
    array(
        select a.attname::text from unnest(c.conkey) with ordinality as k (attnum, position)
        inner join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = k.attnum order by k.position
    ),
    fn.nspname || '.' || ft.relname,
    array(
        select a.attname::text from unnest(c.confkey) with ordinality as k (attnum, position)
        inner join pg_attribute as a on a.attrelid = c.confrelid and a.attnum = k.attnum order by k.position
    )
from pg_constraint as c
inner join pg_class as t on t.oid = c.conrelid
inner join pg_namespace as n on n.oid = t.relnamespace
left join pg_class as ft on ft.oid = c.confrelid
left join pg_namespace as fn on fn.oid = ft.relnamespace
where n.nspname || '.' || t.relname = any(%s) and c.convalidated and c.contype in ('p', 'f', 'c')
"""

_NOT_NULLS = """
select n.nspname || '.' || t.relname, a.attname
from pg_attribute as a
inner join pg_class as t on t.oid = a.attrelid
inner join pg_namespace as n on n.oid = t.relnamespace
where n.nspname || '.' || t.relname = any(%s) and a.attnum > 0 and not a.attisdropped and a.attnotnull
"""


def present(connection: psycopg.Connection, tables: list[str]) -> set[Constraint]:
    """What the database enforces on these tables (`schema.name`)."""
    found = {
        Constraint(table, "not null", f"({column})") for table, column in connection.execute(_NOT_NULLS, (tables,))
    }
    for table, kind, name, columns, target, target_columns in connection.execute(_KEYS, (tables,)):
        listed = f"({', '.join(columns)})"
        match kind:
            case "p":
                found.add(Constraint(table, "primary key", listed))
            case "f":
                found.add(Constraint(table, "foreign key", f"{listed} to {target} ({', '.join(target_columns)})"))
            case "c":
                found.add(Constraint(table, "check", name))
    return found
