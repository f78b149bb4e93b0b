-- Grain: one row per line of an evaluation of a unit by its competent authority (Articles 5.3, 7.3, 8.3).
{{ config(unique_key='sheet_id') }}

with sheets as (
    select * from {{ ref('stg_institutional__authority_evaluation') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    sheets.sheet_id::text as sheet_id,
    evaluated.unit_code::text as unit_code,
    evaluator.unit_code::text as evaluator_unit_code,
    sheets.period_code::text as period_code,
    sheets.criterion_code::text as criterion_code,
    sheets.score::numeric as score,
    sheets.max_score::numeric as max_score,
    sheets.rank::integer as rank,
    sheets.evaluated_on::date as evaluated_on,
    sheets.batch_id::bigint as batch_id,
    sheets.first_batch_id::bigint as first_batch_id
from sheets
left join units as evaluated on sheets.unit_code = evaluated.unit_code
left join units as evaluator on sheets.evaluator_unit_code = evaluator.unit_code
