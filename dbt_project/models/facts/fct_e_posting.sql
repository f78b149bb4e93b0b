-- Grain: one row per period, unit and place where the unit must post: index E, the latest valid check.
{{ config(unique_key=['period_code', 'unit_code', 'place_code'], post_hook="{{ note_periods() }}") }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

checks as (
    select * from {{ ref('core_posting_check') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

{{ posting('policies') }}

select
    period_code::text as period_code,
    unit_code::text as unit_code,
    place_code::text as place_code,
    policy_id::text as policy_id,
    checked_on::date as checked_on,
    is_carried_forward::boolean as is_carried_forward,
    result::text as result,
    checker_kinds::text as checker_kinds
from posted
