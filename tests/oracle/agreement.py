"""Whether a warehouse's marts equal the oracle's rows, and which differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from tests.oracle import rules
from tests.oracle.compare import (
    DIFFERENCE_COLUMNS,
    DIFFERENCE_KEY,
    FLOW_COLUMNS,
    INDEX_COLUMNS,
    INDEX_KEY,
    K_COLUMNS,
    K_KEY,
    PETITION_COLUMNS,
    TERM_COLUMNS,
    TERM_KEY,
    differences,
    report,
)
from tests.oracle.petitions import Petitions
from tests.oracle.scorer import Period, Policy, Row, Scorer, World

Marts = Mapping[str, list[Row]]
MARTS = {
    "index_score": (INDEX_KEY, INDEX_COLUMNS),
    "k_score": (K_KEY, K_COLUMNS),
    "dossier_flow": (K_KEY, FLOW_COLUMNS),
    "petition_count": (K_KEY, PETITION_COLUMNS),
    "petition_term": (TERM_KEY, TERM_COLUMNS),
    "portal_difference": (DIFFERENCE_KEY, DIFFERENCE_COLUMNS),
}


def scorer_of(world: World, policies: Sequence[Policy] | None = None) -> Scorer:
    return Scorer(world, policies or rules.policies(), rules.working_days(), rules.level_classes(), rules.terms())


def oracle_rows(scorer: Scorer, periods: Sequence[Period], last_day: date) -> Marts:
    """What the marts should hold; `last_day` is the last of which dossiers were read."""
    index_rows, k_rows = scorer.score(periods)
    counted = Petitions(scorer, periods)
    return {
        "index_score": index_rows,
        "k_score": k_rows,
        "dossier_flow": scorer.flows(periods, last_day, index_rows),
        "petition_count": counted.count_rows({(k["period_code"], k["unit_code"]): k["small_sample"] for k in k_rows}),
        "petition_term": counted.term_rows(),
        "portal_difference": counted.difference_rows(),
    }


def disagreements(scorer: Scorer, periods: Sequence[Period], oracle: Marts, marts: Marts) -> list[str]:
    """A readable report for each mart that differs from the oracle."""
    reports = []
    for mart, rows in oracle.items():
        found = differences(rows, marts[mart], *MARTS[mart])
        if found:
            reports.append(f"marts.{mart}: {report(found, scorer, periods)}")
    return reports
