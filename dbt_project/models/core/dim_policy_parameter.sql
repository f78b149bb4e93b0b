-- Grain: one row per policy, its parameters as typed columns.
{{ config(unique_key='policy_id') }}

{%- set parameters = [
    ('result_statuses', 'text'), ('due_basis', 'text'), ('due_missing', 'text'), ('midnight_is_date', 'boolean'),
    ('a_grace_working_days', 'integer'), ('a_point_within_grace', 'numeric'), ('at_once_cutoff', 'time'),
    ('attribution', 'text'), ('interlinked', 'text'), ('inherited_overdue', 'text'),
    ('b_population', 'text'), ('b_threshold', 'text'), ('b_max_returns', 'integer'), ('b_permitted_default', 'integer'), ('b_source', 'text'),
    ('b_applicant_fault', 'text'),
    ('c_question', 'text'), ('c_channels', 'text'), ('c_repeat', 'text'), ('c_middle_level', 'text'),
    ('d_definition', 'text'), ('d_zero_dossier', 'text'), ('d_metric_max', 'numeric'),
    ('d_dossier_full_share', 'numeric'), ('d_recompute_tolerance', 'numeric'),
    ('e_valid_days', 'integer'), ('e_basis', 'text'), ('e_self_check', 'text'),
    ('a_max', 'numeric'), ('b_max', 'numeric'), ('c_max', 'numeric'), ('d_max', 'numeric'),
    ('e_max', 'numeric'),
    ('explain_k_fall', 'numeric'), ('explain_cases', 'integer'), ('explain_reconciliation_share', 'numeric'),
    ('explain_within_days', 'integer'),
    ('missing_index', 'text'), ('k_scale', 'integer'), ('k_threshold', 'numeric'), ('k_equal', 'text'),
    ('rank_scale', 'integer'), ('near_threshold_distance', 'numeric'), ('min_window_days', 'integer'),
    ('c_min_ratings', 'integer'), ('c_min_uncertainty', 'numeric'), ('overdue_long_days', 'integer'), ('petition_resent_often', 'integer'), ('petition_unanswered_days', 'integer'),
] %}

with policies as (
    select * from {{ ref('scoring_policy') }}
),

parameters as (
    select * from {{ ref('scoring_policy_parameter') }}
),

wide as (
    select
        {% for name, type in parameters %}
        max(value) filter (where parameter = '{{ name }}') as {{ name }},
        {% endfor %}
        policy_id
    from parameters
    group by policy_id
)

select
    policies.policy_id::text as policy_id,
    policies.legal_basis::text as legal_basis,
    policies.valid_from::date as valid_from,
    policies.valid_to::date as valid_to,
    {% for name, type in parameters %}
    wide.{{ name }}::{{ type }} as {{ name }},
    {% endfor %}
    policies.calendar_code::text as calendar_code
from policies
left join wide on policies.policy_id = wide.policy_id
