-- Grain: one row per period, unit, place where the unit must post and reading of index E.
{{ config(
    unique_key=['period_code', 'unit_code', 'place_code', 'set_code'],
    post_hook="{{ note_periods() }}",
) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

checks as (
    select * from {{ ref('core_posting_check') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

sets as (
    select * from {{ ref('dim_reading_set') }}
    where index_code = 'E' and kind <> 'own'
),

readings as (
    select
        sets.*,
        policies.e_valid_days
    from sets
    inner join policies on sets.policy_id = policies.policy_id
),

{{ posting('readings', also=['set_code']) }}

select
    period_code::text as period_code,
    unit_code::text as unit_code,
    place_code::text as place_code,
    set_code::text as set_code,
    policy_id::text as policy_id,
    checked_on::date as checked_on,
    result::text as result
from posted
