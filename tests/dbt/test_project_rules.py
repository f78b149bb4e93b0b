"""House rules of the dbt project, read from its manifest. The list of exceptions is empty and stays so."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hailong.settings import Settings
from hailong.warehouse import dbt

Manifest = dict[str, Any]
Node = dict[str, Any]

# What a layer may read. Sources come in through staging only; nothing reads against the stream.
MAY_READ = {
    "staging": {"source", "staging"},
    "core": {"seed", "staging", "core"},
    "facts": {"seed", "core", "facts"},
    "marts": {"seed", "core", "facts", "marts"},
    # Restricted: it reads pseudonyms in staging, and nothing reads it.
    "officials": {"seed", "staging", "core", "facts", "marts", "officials"},
    # What is read while builds run: tables, and of the ledger which build they are of.
    "provisional": {"source", "core", "marts"},
}
FOLDER_OF_PREFIX = {
    "stg": "staging", "dim": "core", "core": "core", "fct": "facts", "mart": "marts", "dq": "marts", "official": "officials",
    "provisional": "provisional",
}  # fmt: skip
UNDER_CONTRACT = ("core", "facts", "marts", "officials", "provisional")
# How a model names the pseudonym of an official; whether there is one at all is no secret.
PSEUDONYMS = re.compile(r"\bofficial\b(?! is (not )?null)")
CLOCK = re.compile(r"\b(now\s*\(|current_(date|time|timestamp)|clock_timestamp|statement_timestamp|localtime)", re.I)
# Values of the policy's parameters that must come from the seed. (0, 1, 2 and 6 have other uses in SQL.)
OF_THE_DECISION = re.compile(r"(?<![\w.])(5|10|18|20|100|0\.9|0\.01|'15:00'|'8'|'9'|'10'|'qd104-2024')(?![\w.])")


def layer(node: Node) -> str:
    return str(node["resource_type"]) if node["resource_type"] != "model" else str(node["fqn"][1])


def models(manifest: Manifest) -> list[Node]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*|\{#.*?#\}", "", sql, flags=re.S)


def without_types(sql: str) -> str:
    return re.sub(r"numeric\(\d+, \d+\)", "numeric", sql)


def literals_of_the_decision(code: str) -> list[str]:
    return sorted({match[0] for match in OF_THE_DECISION.finditer(without_types(without_comments(code)))})


def violations(manifest: Manifest) -> list[str]:
    """Every breach of a rule, in words."""
    found = [breach for node in models(manifest) for rule in RULES for breach in rule(manifest, node)]
    found += [breach for source in manifest["sources"].values() for breach in a_source_is_watched(source)]
    if not models(manifest):
        found.append("the manifest holds no model")
    return found


def a_source_is_watched(source: Node) -> Iterator[str]:
    """It is described, and its freshness is checked or it says why not."""
    freshness = source.get("freshness") or {}
    is_checked = any((freshness.get(name) or {}).get("count") for name in ("warn_after", "error_after"))
    if not is_checked and not source["config"].get("meta", {}).get("no_freshness"):
        yield f"source {source['name']} has no freshness and no reason why not"
    if not source["description"]:
        yield f"source {source['name']} lacks a description"


def edges_follow_the_layers(manifest: Manifest, node: Node) -> Iterator[str]:
    everything = {**manifest["nodes"], **manifest["sources"]}
    for parent in node["depends_on"]["nodes"]:
        read = layer(everything[parent])
        if read not in MAY_READ.get(layer(node), set()):
            yield f"{node['name']} ({layer(node)}) reads {everything[parent]['name']} ({read})"


def prefix_decides_folder(_: Manifest, node: Node) -> Iterator[str]:
    prefix = node["name"].split("_")[0]
    if FOLDER_OF_PREFIX.get(prefix) != layer(node):
        yield f"{node['name']} lies in {layer(node)}: its prefix belongs to {FOLDER_OF_PREFIX.get(prefix)}"


def tables_are_under_contract(_: Manifest, node: Node) -> Iterator[str]:
    if layer(node) not in UNDER_CONTRACT:
        return
    config = node["config"]
    if not config["contract"]["enforced"]:
        yield f"{node['name']} has no enforced contract"
    if config["materialized"] == "view" and layer(node) in ("facts", "provisional"):  # these store nothing of their own
        return
    keys = [constraint for constraint in node["constraints"] if constraint["type"] == "primary_key"]
    unique_key = config["unique_key"] if isinstance(config["unique_key"], list) else [config["unique_key"]]
    kept = (config["materialized"], config["incremental_strategy"])
    if layer(node) != "officials" and kept != ("incremental", "sync"):
        yield f"{node['name']} is not kept by sync: a rebuilt table loses the keys that point at it"
    if layer(node) == "officials" and (
        config["materialized"] != "table" or any(c["type"] == "foreign_key" for c in node["constraints"])
    ):
        yield f"{node['name']} is no table without foreign keys: a full build could not drop what it hangs on"
    if len(keys) != 1:
        yield f"{node['name']} has no primary key"
    elif keys[0]["columns"] != unique_key:
        yield f"{node['name']}: primary key {keys[0]['columns']} is not the key it is kept by, {unique_key}"
    for constraint in node["constraints"]:
        if constraint["type"] == "check" and not constraint.get("name"):
            yield f"{node['name']}: a check without a name cannot be proved"


def provisional_views_stand_on_tables(manifest: Manifest, node: Node) -> Iterator[str]:
    """dbt drops the old view of each night with all that hangs on it: what users read would be gone until its own turn."""
    if layer(node) != "provisional":
        return
    everything = {**manifest["nodes"], **manifest["sources"]}
    for name in node["depends_on"]["nodes"]:
        parent = everything[name]
        stays = layer(parent) == "source" and (parent["schema"], parent["name"]) in {
            ("ops", "build"),
            ("publish", "own_unit"),
        }
        if not stays and parent["config"].get("materialized") != "incremental":
            yield f"{node['name']} stands on {parent['name']}, which is no table that stays"


def grain_stands_first(_: Manifest, node: Node) -> Iterator[str]:
    if layer(node) in UNDER_CONTRACT and not node["raw_code"].startswith("-- Grain: one row per "):
        yield f"{node['name']} does not begin with its grain"


def last_select_names_its_columns(_: Manifest, node: Node) -> Iterator[str]:
    last = re.split(r"^select\b", node["raw_code"], flags=re.M)[-1]
    if re.search(r"(^|[\s.,])\*(\s|,|$)", last.split("\nfrom ")[0]):
        yield f"{node['name']}: the last select takes everything"


def raw_is_read_as_of(_: Manifest, node: Node) -> Iterator[str]:
    """Of a feed by its name, so that a restatement counts its records by what happened to them."""
    code = node["raw_code"]
    reads = re.findall(r"(version_in_force\()?\bsource\('(\w+)', '(\w+)'\)", code)
    wanted = Counter(table if schema == "raw" else "" for inside, schema, table in reads if not inside)
    if wanted - Counter(re.findall(r"\bas_of\((?:'(\w+)'(?:, '\w+')?)?\)", code)):
        yield f"{node['name']} reads raw rows without the as-of filter"


def what_is_looked_up_in_is_flat(_: Manifest, node: Node) -> Iterator[str]:
    """PostgreSQL never looks into a view with a CTE: an increment would read all of it for a few records."""
    is_view = node["config"]["materialized"] == "view"
    of_versions = layer(node) == "staging" and node["name"].endswith(("_version", "_deletion", "_step", "_participant"))
    has_cte = re.search(r"^\s*with\b", without_comments(node["raw_code"]), flags=re.M)
    if is_view and has_cte and (of_versions or layer(node) == "facts"):
        yield f"{node['name']} is a view with a CTE: nothing can be looked up in it"


def increments_say_their_scope(_: Manifest, node: Node) -> Iterator[str]:
    """Without it, what the query left out would be deleted; with it alone, everything would be read."""
    is_limited = "is_increment()" in node["raw_code"] or "of_touched_cells(" in node["raw_code"]
    if is_limited != bool(node["config"].get("scope")):
        yield f"{node['name']} is limited to what was touched in one of query and scope only"


def no_clock(_: Manifest, node: Node) -> Iterator[str]:
    if CLOCK.search(without_comments(node["raw_code"])):
        yield f"{node['name']} looks at the clock"


def no_rule_as_literal(_: Manifest, node: Node) -> Iterator[str]:
    for literal in literals_of_the_decision(node["raw_code"]):
        yield f"{node['name']} holds {literal}: a value of the policy belongs into its seed"


def pseudonyms_stay_restricted(manifest: Manifest, node: Node) -> Iterator[str]:
    """Only the restricted layer, and views of staging that nothing else reads, name an official."""
    everything = {**manifest["nodes"], **manifest["sources"]}
    names_official = bool(PSEUDONYMS.search(without_comments(node["raw_code"]))) or "official" in node["columns"]
    if layer(node) in ("core", "facts", "marts"):
        if names_official:
            yield f"{node['name']} ({layer(node)}) names an official"
        for parent in node["depends_on"]["nodes"]:
            if re.search(r"(^|_)official(_|$)", everything[parent]["name"]):
                yield f"{node['name']} ({layer(node)}) reads {everything[parent]['name']}, which holds pseudonyms"
    elif layer(node) == "staging" and names_official and not re.search(r"(^|_)official(_|$)", node["name"]):
        yield f"{node['name']} names an official and does not say so in its name"


def increments_may_leave_seeds_out(manifest: Manifest, node: Node) -> Iterator[str]:
    """Tests that stand beside seeds run in full builds only (hailong.warehouse.build), so they read nothing that grows."""
    for test in manifest["nodes"].values():
        beside_seeds = test["resource_type"] == "test" and test["original_file_path"].startswith("seeds/")
        if beside_seeds and node["unique_id"] in test["depends_on"]["nodes"]:
            yield f"{test['name']} stands beside seeds and reads {node['name']}: no increment would run it"


def everything_is_described(_: Manifest, node: Node) -> Iterator[str]:
    missing = [name for name, column in node["columns"].items() if not column["description"]]
    if not node["description"] or missing:
        yield f"{node['name']} lacks a description ({', '.join(missing) or 'of itself'})"


RULES: tuple[Callable[[Manifest, Node], Iterator[str]], ...] = (
    edges_follow_the_layers,
    prefix_decides_folder,
    tables_are_under_contract,
    provisional_views_stand_on_tables,
    grain_stands_first,
    last_select_names_its_columns,
    raw_is_read_as_of,
    what_is_looked_up_in_is_flat,
    increments_say_their_scope,
    no_clock,
    no_rule_as_literal,
    pseudonyms_stay_restricted,
    increments_may_leave_seeds_out,
    everything_is_described,
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The project as dbt parses it; parsing needs no server."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings.load({"HAILONG_HOME": str(home), "HAILONG_DSN": "postgresql://nobody@localhost/nothing"})
    return dbt.run(settings, ["parse"], dbt.Reads()).manifest


def test_project_follows_the_house_rules(manifest: Manifest) -> None:
    assert violations(manifest) == []


def test_project_has_every_model_of_the_design(manifest: Manifest) -> None:
    names = {node["name"] for node in models(manifest)}
    assert {
        "stg_tthc__dossier_version", "dim_unit", "dim_procedure", "dim_calendar_day", "dim_period",
        "dim_policy_parameter", "core_dossier_history", "core_dossier", "core_supplement", "core_rating", "core_portal_score",
        "core_posting_check", "core_unit_window", "fct_dossier", "fct_a_population", "fct_a_exclusion", "fct_a_timeliness",
        "fct_b_exclusion", "fct_b_guidance", "fct_c_population", "fct_c_exclusion", "fct_c_attitude",
        "fct_d_petitions", "fct_e_posting", "fct_unit_day", "fct_open_dossier",
        "mart_dossier_flow", "mart_index_score", "mart_k_score",
    } <= names  # fmt: skip


def test_parsing_leaves_the_project_folder_clean() -> None:
    rules = Settings.load({}).rules
    assert not [path.name for path in rules.iterdir() if path.name in ("target", "logs", ".user.yml")]


def spoil(manifest: Manifest, name: str, **changes: Any) -> Manifest:
    """A copy of the manifest with one model changed: the bad fixture."""
    spoiled = copy.deepcopy(manifest)
    node = next(node for node in models(spoiled) if node["name"] == name)
    node.update(changes)
    return spoiled


def node_of(manifest: Manifest, name: str) -> Node:
    return copy.deepcopy(next(node for node in models(manifest) if node["name"] == name))


BAD: dict[str, tuple[str, Callable[[Node], dict[str, Any]], str]] = {
    "a mart that reads staging": (
        "mart_k_score",
        lambda node: {"depends_on": {"nodes": ["model.hailong.stg_register__unit"]}},
        "mart_k_score (marts) reads stg_register__unit (staging)",
    ),
    "core that reads raw": (
        "core_dossier",
        lambda node: {"depends_on": {"nodes": ["source.hailong.raw.dossier"]}},
        "core_dossier (core) reads dossier (source)",
    ),
    "core that reads a fact": (
        "core_rating",
        lambda node: {"depends_on": {"nodes": ["model.hailong.fct_a_timeliness"]}},
        "core_rating (core) reads fct_a_timeliness (facts)",
    ),
    "a fact in the folder of marts": (
        "fct_unit_day",
        lambda node: {"fqn": ["hailong", "marts", "fct_unit_day"]},
        "fct_unit_day lies in marts",
    ),
    "a fact without contract": (
        "fct_unit_day",
        lambda node: {"config": {**node["config"], "contract": {"enforced": False}}},
        "fct_unit_day has no enforced contract",
    ),
    "a fact without primary key": (
        "fct_unit_day",
        lambda node: {"constraints": [c for c in node["constraints"] if c["type"] != "primary_key"]},
        "fct_unit_day has no primary key",
    ),
    "a mart that is a view": (
        "mart_k_score",
        lambda node: {"config": {**node["config"], "materialized": "view"}},
        "mart_k_score is not kept by sync",
    ),
    "a view without contract": (
        "fct_a_exclusion",
        lambda node: {"config": {**node["config"], "contract": {"enforced": False}}},
        "fct_a_exclusion has no enforced contract",
    ),
    "a fact that is rebuilt": (
        "fct_unit_day",
        lambda node: {"config": {**node["config"], "materialized": "table"}},
        "fct_unit_day is not kept by sync",
    ),
    "a fact without its grain": (
        "fct_unit_day",
        lambda node: {"raw_code": node["raw_code"].split("\n", 1)[1]},
        "fct_unit_day does not begin with its grain",
    ),
    "a last select of everything": (
        "stg_ops__batch",
        lambda node: {"raw_code": node["raw_code"].split("select\n    batch_id")[0] + "select *\nfrom batches\n"},
        "stg_ops__batch: the last select takes everything",
    ),
    "raw rows of every batch": (
        "stg_ops__batch",
        lambda node: {"raw_code": node["raw_code"].replace("where {{ as_of() }}", "")},
        "stg_ops__batch reads raw rows without the as-of filter",
    ),
    "raw rows filtered as those of another feed": (
        "stg_rating__rating_version",
        lambda node: {"raw_code": node["raw_code"].replace("as_of('rating', ", "as_of('dossier', ")},
        "stg_rating__rating_version reads raw rows without the as-of filter",
    ),
    "a view of versions with a CTE": (
        "stg_tthc__dossier_version",
        lambda node: {"raw_code": "with versions as (\n" + node["raw_code"] + ") select record_key from versions"},
        "stg_tthc__dossier_version is a view with a CTE",
    ),
    "an increment that would delete what it did not look at": (
        "fct_dossier",
        lambda node: {"config": {**node["config"], "scope": None}},
        "fct_dossier is limited to what was touched in one of query and scope only",
    ),
    "a scope of a query that reads everything": (
        "fct_unit_day",
        lambda node: {"raw_code": node["raw_code"].replace("is_increment()", "false")},
        "fct_unit_day is limited to what was touched in one of query and scope only",
    ),
    "a look at the clock": (
        "dim_period",
        lambda node: {"raw_code": node["raw_code"] + "\nwhere period_end < current_date"},
        "dim_period looks at the clock",
    ),
    "a threshold in SQL": (
        "mart_k_score",
        lambda node: {"raw_code": node["raw_code"] + "\nwhere k > 20"},
        "mart_k_score holds 20",
    ),
    "a list of statuses in SQL": (
        "fct_a_timeliness",
        lambda node: {"raw_code": node["raw_code"] + "\nwhere status_code in ('8', '9')"},
        "fct_a_timeliness holds '8'",
    ),
    "an official outside the restricted layer": (
        "fct_a_timeliness",
        lambda node: {"raw_code": node["raw_code"] + "\nwhere compared.official = 'x'"},
        "fct_a_timeliness (facts) names an official",
    ),
    "a mart that shows officials": (
        "mart_k_score",
        lambda node: {"columns": {"official": {"description": "x"}}},
        "mart_k_score (marts) names an official",
    ),
    "core that reads pseudonyms": (
        "core_dossier",
        lambda node: {"depends_on": {"nodes": ["model.hailong.stg_tthc__dossier_official"]}},
        "core_dossier (core) reads stg_tthc__dossier_official, which holds pseudonyms",
    ),
    "a mart that reads the restricted layer": (
        "mart_k_score",
        lambda node: {"depends_on": {"nodes": ["model.hailong.official_score"]}},
        "mart_k_score (marts) reads official_score (officials)",
    ),
    "a staging view that hides an official": (
        "stg_tthc__dossier_version",
        lambda node: {"raw_code": node["raw_code"].replace("    versions.op,", "    versions.official,", 1)},
        "stg_tthc__dossier_version names an official",
    ),
    "scores of officials that hang on core": (
        "official_score",
        lambda node: {"constraints": [*node["constraints"], {"type": "foreign_key", "columns": ["unit_code"]}]},
        "official_score is no table without foreign keys",
    ),
    "a provisional score that is kept": (
        "provisional_k_score",
        lambda node: {"config": {**node["config"], "materialized": "table"}},
        "provisional_k_score is not kept by sync",
    ),
    "a provisional view on a view": (
        "provisional_k_score",
        lambda node: {"depends_on": {"nodes": ["model.hailong.provisional_index_score"]}},
        "provisional_k_score stands on provisional_index_score, which is no table that stays",
    ),
    "a provisional view on raw rows": (
        "provisional_k_score",
        lambda node: {"depends_on": {"nodes": ["source.hailong.raw.dossier"]}},
        "provisional_k_score stands on dossier, which is no table that stays",
    ),
    "a column without description": (
        "dim_unit",
        lambda node: {"columns": {"unit_code": {"description": ""}}},
        "dim_unit lacks a description (unit_code)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_the_checker_refuses(manifest: Manifest, case: str) -> None:
    name, change, expected = BAD[case]
    spoiled = spoil(manifest, name, **change(node_of(manifest, name)))
    assert any(breach.startswith(expected) for breach in violations(spoiled)), violations(spoiled)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"config": {}, "freshness": None}, "source batch has no freshness and no reason why not"),
        ({"description": ""}, "source batch lacks a description"),
    ],
)
def test_the_checker_refuses_a_source_that_nobody_watches(manifest: Manifest, change: Node, told: str) -> None:
    spoiled = copy.deepcopy(manifest)
    next(source for source in spoiled["sources"].values() if source["name"] == "batch").update(change)
    assert told in violations(spoiled)


def test_the_checker_refuses_a_test_that_no_increment_would_run(manifest: Manifest) -> None:
    spoiled = copy.deepcopy(manifest)
    beside_seeds = (test for test in spoiled["nodes"].values() if test["original_file_path"].startswith("seeds/"))
    test = next(test for test in beside_seeds if test["resource_type"] == "test")
    test["depends_on"]["nodes"].append(node_of(manifest, "dim_unit")["unique_id"])
    assert violations(spoiled) == [f"{test['name']} stands beside seeds and reads dim_unit: no increment would run it"]


def test_the_checker_refuses_an_empty_project() -> None:
    assert violations({"nodes": {}, "sources": {}}) == ["the manifest holds no model"]


def test_lint_configuration_stands_in_the_root() -> None:
    assert (Path(__file__).resolve().parents[2] / ".sqlfluff").is_file()
