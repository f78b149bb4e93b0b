-- Grain: one row per line of what a unit says of itself (Articles 5.4, 16.4).
{{ config(unique_key='line_id') }}

with lines as (
    select * from {{ ref('stg_unit_office__self_evaluation') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    lines.line_id::text as line_id,
    units.unit_code::text as unit_code,
    lines.period_code::text as period_code,
    lines.criterion_code::text as criterion_code,
    lines.score::numeric as score,
    lines.max_score::numeric as max_score,
    lines.evaluated_on::date as evaluated_on,
    lines.batch_id::bigint as batch_id,
    lines.first_batch_id::bigint as first_batch_id
from lines
left join units on lines.unit_code = units.unit_code
