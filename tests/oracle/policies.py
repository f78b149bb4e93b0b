"""Eight policies in succession: every value that the oracle knows is tried by one of them."""

from __future__ import annotations

from datetime import date

# In succession, with borders at the end of periods, inside them, and where districts became communes.
SINCE_WHEN = [
    date(2024, 11, 29), date(2025, 2, 15), date(2025, 6, 1), date(2025, 7, 1), date(2025, 11, 3), date(2026, 2, 15),
    date(2026, 6, 20), date(2026, 10, 15),
]  # fmt: skip
CHANGES: list[dict[str, str]] = [
    {},
    {
        "attribution": "receiving", "due_basis": "first", "b_threshold": "beyond_permitted", "c_question": "overall",
        "e_self_check": "authority_only", "missing_index": "zero", "d_definition": "recomputed_104",
    },
    {
        "result_statuses": "9,10", "due_basis": "source_current", "due_missing": "exclude", "e_basis": "any_failure",
        "c_repeat": "last_per_dossier_day", "k_equal": "satisfied", "b_permitted_default": "0",
    },
    {
        "inherited_overdue": "exclude", "a_point_within_grace": "0.5", "b_population": "returned", "c_channels": "art7",
        "d_definition": "petition_rescaled", "missing_index": "rescale", "k_scale": "2",
    },
    {
        "midnight_is_date": "false", "c_middle_level": "normal", "d_zero_dossier": "no_data", "a_point_within_grace": "1",
        "k_equal": "not_satisfied", "e_valid_days": "30", "d_definition": "recomputed_104",
    },
    {
        "b_max_returns": "0", "a_grace_working_days": "0", "min_window_days": "6", "at_once_cutoff": "08:00", "rank_scale": "0",
        "d_definition": "petition_rescaled", "c_repeat": "last_per_dossier_day", "c_question": "overall",
    },
    {
        "inherited_overdue": "exclude", "attribution": "receiving", "e_basis": "any_failure", "e_self_check": "authority_only",
        "missing_index": "zero", "d_zero_dossier": "no_data", "near_threshold_distance": "1", "k_threshold": "19.5",
    },
    {
        "b_population": "returned", "b_threshold": "beyond_permitted", "c_channels": "art7", "missing_index": "rescale",
        "result_statuses": "10", "k_threshold": "18", "d_definition": "recomputed_104",
    },
]  # fmt: skip
