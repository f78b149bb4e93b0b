-- Grain: one row per period and unit with a portal row for the whole period: index D, and the score computed again.
{{ config(unique_key=['period_code', 'unit_code']) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

scores as (
    select * from {{ ref('core_portal_score') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

matched as (
    select
        windows.period_code,
        windows.policy_id,
        policies.d_recompute_tolerance,
        scores.*,
        {{ petition_score('scores.on_time_numerator', 'scores.on_time_denominator', 'policies') }} as on_time_again,
        {{ petition_score('scores.handling_numerator', 'scores.handling_denominator', 'policies') }} as handling_again,
        {{ dossier_score('scores.dossier_numerator', 'scores.dossier_denominator', 'policies') }} as dossier_again
    from windows
    inner join scores
        on
            windows.unit_code = scores.unit_code
            and windows.period_start = scores.window_from
            and windows.period_end = scores.window_to + 1
    inner join policies on windows.policy_id = policies.policy_id
),

recomputed as (
    select
        matched.*,
        round(matched.on_time_again, 2) + round(matched.handling_again, 2) + round(matched.dossier_again, 2)
            as recomputed_score
    from matched
)

select
    period_code::text as period_code,
    unit_code::text as unit_code,
    policy_id::text as policy_id,
    department_id::text as department_id,
    total_score::numeric as total_score,
    total_max_score::numeric as total_max_score,
    total_petitions::bigint as total_petitions,
    total_dossiers::bigint as total_dossiers,
    on_time_numerator::bigint as on_time_numerator,
    on_time_denominator::bigint as on_time_denominator,
    on_time_score::numeric as on_time_score,
    handling_numerator::bigint as handling_numerator,
    handling_denominator::bigint as handling_denominator,
    handling_score::numeric as handling_score,
    dossier_numerator::bigint as dossier_numerator,
    dossier_denominator::bigint as dossier_denominator,
    dossier_score::numeric as dossier_score,
    recomputed_score::numeric as recomputed_score,
    (total_score - recomputed_score)::numeric as difference,
    coalesce(abs(total_score - recomputed_score) > d_recompute_tolerance, false)::boolean as is_difference_finding,
    metric_version::text as metric_version,
    retrieved_at::timestamptz as retrieved_at
from recomputed
