-- Grain: one row per period and unit with a portal row for the whole period: index D, and the score computed again.
{{ config(unique_key=['period_code', 'unit_code'], post_hook="{{ note_periods() }}") }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

scores as (
    select * from {{ ref('core_portal_score') }}
),

counts as (
    select * from {{ ref('fct_d_petition_count') }}
    where base_code = 'own'
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
        policies.d_metric_max,
        {{ d_petition_weight('policies', 'policies') }} as petition_weight,
        scores.*,
        windows.window_start <> scores.window_from or windows.window_end <> scores.window_to + 1 as is_window_mismatch,
        counts.in_time,
        counts.satisfied,
        counts.counted_as_new,
        {{ petition_score('counts.in_time', 'counts.counted_as_new', 'policies') }} as as_new_on_time_score,
        {{ petition_score('counts.satisfied', 'counts.counted_as_new', 'policies') }} as as_new_handling_score,
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
    left join counts on windows.period_code = counts.period_code and windows.unit_code = counts.unit_code
),

recomputed as (
    select
        matched.*,
        matched.d_definition = 'recomputed_104' as is_recounted,
        round(matched.on_time_again, 2) + round(matched.handling_again, 2) + round(matched.dossier_again, 2)
            as recomputed_score,
        {{ d_value('matched', 'matched', 'matched') }} as value
    from matched
)

select
    recomputed.period_code::text as period_code,
    recomputed.unit_code::text as unit_code,
    recomputed.policy_id::text as policy_id,
    recomputed.department_id::text as department_id,
    recomputed.window_from::date as window_from,
    recomputed.window_to::date as window_to,
    recomputed.is_window_mismatch::boolean as is_window_mismatch,
    recomputed.total_score::numeric as total_score,
    recomputed.total_max_score::numeric as total_max_score,
    recomputed.total_petitions::bigint as total_petitions,
    recomputed.total_dossiers::bigint as total_dossiers,
    recomputed.on_time_numerator::bigint as on_time_numerator,
    recomputed.on_time_denominator::bigint as on_time_denominator,
    recomputed.on_time_score::numeric as on_time_score,
    recomputed.handling_numerator::bigint as handling_numerator,
    recomputed.handling_denominator::bigint as handling_denominator,
    recomputed.handling_score::numeric as handling_score,
    recomputed.dossier_numerator::bigint as dossier_numerator,
    recomputed.dossier_denominator::bigint as dossier_denominator,
    recomputed.dossier_score::numeric as dossier_score,
    trim_scale(recomputed.as_new_on_time_score)::numeric as as_new_on_time_score,
    trim_scale(recomputed.as_new_handling_score)::numeric as as_new_handling_score,
    -- What the petition part of D rests on: the portal's counts, or ours with each opinion sent again as a new one.
    case
        when recomputed.is_recounted then recomputed.in_time else recomputed.on_time_numerator
    end::bigint as d_on_time_numerator,
    case
        when recomputed.is_recounted then recomputed.counted_as_new else recomputed.on_time_denominator
    end::bigint as d_on_time_denominator,
    case
        when recomputed.is_recounted then recomputed.satisfied else recomputed.handling_numerator
    end::bigint as d_handling_numerator,
    case
        when recomputed.is_recounted then recomputed.counted_as_new else recomputed.handling_denominator
    end::bigint as d_handling_denominator,
    trim_scale(recomputed.value)::numeric as value,
    {{ d_missing_reason('recomputed', 'recomputed') }}::text as missing_reason,
    {{ d_maximum('recomputed', 'recomputed', 'recomputed') }}::numeric as maximum,
    recomputed.petition_weight::numeric as petition_weight,
    trim_scale(recomputed.recomputed_score)::numeric as recomputed_score,
    trim_scale(recomputed.total_score - recomputed.recomputed_score)::numeric as difference,
    coalesce(
        abs(recomputed.total_score - recomputed.recomputed_score) > recomputed.d_recompute_tolerance, false
    )::boolean as is_difference_finding,
    recomputed.metric_version::text as metric_version,
    recomputed.retrieved_at::timestamptz as retrieved_at
from recomputed
