-- Grain: one row per check of public posting at a known unit.
{{ config(unique_key='check_id') }}

with checks as (
    select * from {{ ref('stg_inspection__posting_check') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    checks.check_id::text as check_id,
    units.unit_code::text as unit_code,
    checks.place_code::text as place_code,
    checks.checked_on::date as checked_on,
    checks.result_code::text as result_code,
    checks.checker_kind::text as checker_kind
from checks
inner join units on checks.unit_code = units.unit_code
where checks.result_code is not null and checks.place_code is not null
