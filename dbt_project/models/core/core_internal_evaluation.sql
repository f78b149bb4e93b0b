-- Grain: one row per sheet of an internal evaluation (Articles 5.2, 7.2, 8.2).
{{ config(unique_key='sheet_id') }}

with sheets as (
    select * from {{ ref('stg_institutional__internal_evaluation') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    sheets.sheet_id::text as sheet_id,
    units.unit_code::text as unit_code,
    sheets.sub_unit_name::text as sub_unit_name,
    sheets.is_about_official::boolean as is_about_official,
    sheets.period_code::text as period_code,
    -- How one official was judged is for the restricted schema only.
    case when not sheets.is_about_official then sheets.grade_code end::text as grade_code,
    case when not sheets.is_about_official then sheets.score end::numeric as score,
    case when not sheets.is_about_official then sheets.max_score end::numeric as max_score,
    sheets.evaluated_on::date as evaluated_on,
    sheets.batch_id::bigint as batch_id,
    sheets.first_batch_id::bigint as first_batch_id
from sheets
left join units on sheets.unit_code = units.unit_code
