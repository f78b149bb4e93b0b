"""Random lives of dossiers at the edges of every rule: the models of a full build and the independent scorer agree exactly.

Every example is a little world (see `lives`) of one scene, under one to three policies drawn with it. The same ones in each
run; `make prove` tries many more, and others each time.
"""

from __future__ import annotations

import pytest

from hailong.settings import Settings
from tests.integration.light import LightBuild, first_difference
from tests.integration.lives import SCENES, registered
from tests.integration.test_units_through_time import rules_without_readings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def light(module_warehouse: Settings, tmp_path_factory: pytest.TempPathFactory) -> LightBuild:
    folder = tmp_path_factory.mktemp("lives")
    return LightBuild.prepare(rules_without_readings(module_warehouse, folder / "rules"), registered(), folder)


@pytest.mark.parametrize("scene", SCENES)
def test_random_lives_equal_the_oracle(light: LightBuild, scene: str) -> None:
    found = first_difference(light, [scene], 7)
    assert found is None, found


@pytest.mark.parametrize(
    ("model", "right", "wrong"),
    [
        ("fct_dossier", "rolled.result_at > rolled.recorded_due_at", "rolled.result_at >= rolled.recorded_due_at"),
        ("fct_dossier", "units.valid_from > rolled.due_on", "units.valid_from >= rolled.due_on"),
        ("core_dossier_history", "supplement_versions.received_at desc", "supplement_versions.received_at"),
        ("core_unit_window", "periods.period_start < units.valid_to", "periods.period_start <= units.valid_to"),
        ("fct_d_petition_count", "judged.answered_at <= judged.due_at", "judged.answered_at < judged.due_at"),
        ("mart_k_score", "with_k.k > with_k.k_threshold", "with_k.k >= with_k.k_threshold"),
    ],
)
def test_one_wrong_character_is_noticed(light: LightBuild, model: str, right: str, wrong: str) -> None:
    broken = light.changed(model, right, wrong)
    assert first_difference(broken, sorted(SCENES), 60, is_reduced=False) is not None
