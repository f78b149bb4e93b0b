-- Grain: one row per metric inside an answer of core_portal_group.
{{ config(unique_key=['record_key', 'metric_code']) }}

with metrics as (
    select * from {{ ref('stg_portal__metric') }}
),

answers as (
    select * from {{ ref('core_portal_group') }}
),

-- A code that an answer holds twice stands for one metric.
single as (
    select
        record_key,
        metric_code,
        max(numerator) as numerator,
        max(denominator) as denominator,
        max(score) as score,
        max(max_score) as max_score
    from metrics
    group by record_key, metric_code
)

select
    single.record_key::text as record_key,
    single.metric_code::text as metric_code,
    single.numerator::numeric as numerator,
    single.denominator::numeric as denominator,
    single.score::numeric as score,
    single.max_score::numeric as max_score
from single
inner join answers on single.record_key = answers.record_key
