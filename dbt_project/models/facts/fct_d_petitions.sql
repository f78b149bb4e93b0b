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
        policies.d_definition,
        policies.d_zero_dossier,
        policies.d_max,
        -- The two petition metrics alone, stretched to D's whole range.
        case policies.d_definition
            when 'portal_group' then 1
            when 'petition_rescaled' then trim_scale(policies.d_max / (policies.d_metric_max + policies.d_metric_max))
        end as petition_weight,
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
            as recomputed_score,
        case
            when matched.d_definition = 'petition_rescaled'
                then (matched.on_time_score + matched.handling_score) * matched.petition_weight
            when matched.d_zero_dossier = 'no_data' and matched.dossier_denominator = 0 then null
            else matched.total_score
        end as value
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
    value::numeric as value,
    case
        when value is not null then null
        when d_definition = 'portal_group' and total_score is not null then 'no_dossier_rated'
        else 'portal_score_missing'
    end::text as missing_reason,
    case d_definition when 'portal_group' then total_max_score else d_max end::numeric as maximum,
    petition_weight::numeric as petition_weight,
    recomputed_score::numeric as recomputed_score,
    (total_score - recomputed_score)::numeric as difference,
    coalesce(abs(total_score - recomputed_score) > d_recompute_tolerance, false)::boolean as is_difference_finding,
    metric_version::text as metric_version,
    retrieved_at::timestamptz as retrieved_at
from recomputed
