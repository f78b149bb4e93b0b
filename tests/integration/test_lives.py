"""Random lives of dossiers at the edges of every rule: the models of a full build and the independent scorer agree exactly.

Every example is a little world of its own (see `lives`), under one to three policies drawn with it. `make prove` tries many more.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings

from hailong.settings import Settings
from tests.integration.light import LightBuild
from tests.integration.lives import Lives, registered, worlds
from tests.integration.test_units_through_time import rules_without_readings
from tests.oracle import rules
from tests.oracle.agreement import disagreements, oracle_rows, scorer_of

EXAMPLES = 40
pytestmark = pytest.mark.slow
settled = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def light(module_warehouse: Settings, tmp_path_factory: pytest.TempPathFactory) -> LightBuild:
    folder = tmp_path_factory.mktemp("lives")
    prepared = rules_without_readings(module_warehouse, folder / "rules")
    return LightBuild.prepare(prepared, registered(), folder)


def differences_of(light: LightBuild, lives: Lives) -> list[str]:
    """Reports of what differs between the oracle and the models over one world."""
    seeds = light.settings.home
    rules.write_policies(seeds, [since for since, _ in lives.policies], [changed for _, changed in lives.policies])
    scorer = scorer_of(lives.world, rules.policies(seeds))
    oracle = oracle_rows(scorer, lives.periods, lives.until - timedelta(days=1))
    return disagreements(scorer, lives.periods, oracle, light.marts(lives.world, seeds, lives.since, lives.until))


def test_random_lives_equal_the_oracle(light: LightBuild) -> None:
    @settled
    @given(lives=worlds())
    def agree(lives: Lives) -> None:
        found = differences_of(light, lives)
        assert not found, "\n\n".join(found)

    agree()
