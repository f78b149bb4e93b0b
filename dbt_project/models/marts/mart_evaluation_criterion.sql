-- Grain: one row per period, unit, kind of evaluator, evaluator and criterion that was scored.
{{ config(
    alias='evaluation_criterion',
    unique_key=['period_code', 'unit_code', 'evaluator_kind', 'evaluator_code', 'criterion_code'],
) }}

with lines as (
    select * from {{ ref('fct_evaluation') }}
    where exclusion_reason is null
),

summed as (
    select
        period_code,
        unit_code,
        evaluator_kind,
        coalesce(evaluator_code, 'unknown') as evaluator_code,
        coalesce(criterion_code, 'unknown') as criterion_code,
        count(*) as line_count,
        sum(score) as score,
        sum(max_score) as max_score,
        min(rank) as rank,
        bool_or(is_small) as is_small,
        min(evaluated_on) as first_on,
        max(evaluated_on) as last_on
    from lines
    group by
        period_code, unit_code, evaluator_kind, coalesce(evaluator_code, 'unknown'),
        coalesce(criterion_code, 'unknown')
)

select
    period_code::text as period_code,
    unit_code::text as unit_code,
    evaluator_kind::text as evaluator_kind,
    evaluator_code::text as evaluator_code,
    criterion_code::text as criterion_code,
    line_count::bigint as line_count,
    trim_scale(score)::numeric as score,
    trim_scale(max_score)::numeric as max_score,
    round({{ quotient('score', 'max_score') }}, 15)::numeric(20, 15) as share,
    rank::integer as rank,
    is_small::boolean as is_small,
    first_on::date as first_on,
    last_on::date as last_on
from summed
