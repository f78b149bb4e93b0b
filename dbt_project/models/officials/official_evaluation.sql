-- Grain: one row per sheet of an internal evaluation that is about an official (Articles 5.2, 8.2).
{{ config(unique_key='sheet_id') }}

with sheets as (
    select * from {{ ref('stg_institutional__official_evaluation') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

windows as (
    select * from {{ ref('core_unit_window') }}
)

select
    sheets.sheet_id::text as sheet_id,
    sheets.period_code::text as period_code,
    units.unit_code::text as unit_code,
    sheets.official::text as official,
    split_part(sheets.official, ':', 1)::text as key_id,
    sheets.sub_unit_name::text as sub_unit_name,
    sheets.grade_code::text as grade_code,
    sheets.score::numeric as score,
    sheets.max_score::numeric as max_score,
    case
        when sheets.max_score > 0 and sheets.score between 0 and sheets.max_score
            then round({{ quotient('sheets.score', 'sheets.max_score') }}, 15)
    end::numeric(20, 15) as share,
    (windows.period_code is not null)::boolean as has_window,
    sheets.evaluated_on::date as evaluated_on
from sheets
left join units on sheets.unit_code = units.unit_code
left join windows on sheets.period_code = windows.period_code and sheets.unit_code = windows.unit_code
