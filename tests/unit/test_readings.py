"""Which readings vote is a statement about the law: it is made here a second time, because the oracle reads the same seed."""

from __future__ import annotations

from tests.oracle import rules

SILENT_OR_DOUBLE = {
    "a_point_within_grace=0.5", "a_point_within_grace=1", "inherited_overdue=exclude", "result_statuses=9,10",
    "due_basis=source_current", "b_population=returned", "b_threshold=beyond_permitted", "b_source=citizen_answer",
    "b_applicant_fault=exclude", "c_channels=art7", "c_middle_level=normal", "d_definition=petition_rescaled",
    "d_definition=recomputed_104", "e_basis=any_failure", "e_self_check=authority_only", "missing_index=zero",
    "missing_index=rescale", "k_scale=2", "k_equal=satisfied", "k_equal=not_satisfied",
}  # fmt: skip


def test_gaps_of_the_law_vote_and_our_own_choices_do_not() -> None:
    kinds = {f"{reading.parameter}={reading.value}": reading.kind for reading in rules.readings()}
    assert {name for name, kind in kinds.items() if kind == "legal_gap"} == SILENT_OR_DOUBLE
    assert {name for name, kind in kinds.items() if kind == "shown_only"} == {"d_definition=petition_12"}
    assert set(kinds.values()) == {"legal_gap", "method", "shown_only"}
