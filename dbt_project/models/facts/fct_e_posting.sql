-- Grain: one row per period, unit and place where the unit must post: index E, the latest valid check.
{{ config(unique_key=['period_code', 'unit_code', 'place_code']) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

checks as (
    select * from {{ ref('core_posting_check') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

required as (
    select distinct
        windows.period_code,
        windows.unit_code,
        windows.policy_id,
        windows.window_start,
        windows.window_end - 1 as last_day,
        trim(place.place_code) as place_code
    from windows
    cross join lateral string_to_table(windows.posting_places, ';') as place (place_code)
    where trim(place.place_code) <> ''
),

-- The checks of the latest day on which the place was checked, not after the window and not too old at its end.
latest as (
    select
        required.period_code,
        required.unit_code,
        required.place_code,
        checks.checked_on,
        checks.result_code,
        checks.checker_kind,
        required.last_day - checks.checked_on <= policies.e_valid_days as is_valid,
        -- The text speaks of the end of the period; read as of the whole of it, one failure in it is enough.
        policies.e_basis = 'any_failure' and checks.checked_on >= required.window_start as is_decisive,
        rank() over (
            partition by required.period_code, required.unit_code, required.place_code
            order by checks.checked_on desc
        ) as recency
    from required
    inner join policies on required.policy_id = policies.policy_id
    inner join checks
        on
            required.unit_code = checks.unit_code
            and required.place_code = checks.place_code
            and required.last_day >= checks.checked_on
            and (
                required.window_start <= checks.checked_on
                or required.last_day - checks.checked_on <= policies.e_valid_days
            )
    where policies.e_self_check = 'accept' or checks.checker_kind is distinct from 'self'
),

results as (
    select
        period_code,
        unit_code,
        place_code,
        max(checked_on) as checked_on,
        bool_and(result_code = 'pass') filter (where recency = 1) as is_passed,
        bool_or(result_code <> 'pass') filter (where is_decisive) as is_failed,
        string_agg(distinct checker_kind, ',' order by checker_kind) filter (where recency = 1) as checker_kinds
    from latest
    group by period_code, unit_code, place_code
    having bool_or(is_valid) or bool_or(is_decisive and result_code <> 'pass')
)

select
    required.period_code::text as period_code,
    required.unit_code::text as unit_code,
    required.place_code::text as place_code,
    required.policy_id::text as policy_id,
    results.checked_on::date as checked_on,
    (results.checked_on < required.window_start)::boolean as is_carried_forward,
    case
        when results.is_failed or not results.is_passed then 'fail'
        when results.is_passed then 'pass'
    end::text as result,
    results.checker_kinds::text as checker_kinds
from required
left join results
    on
        required.period_code = results.period_code
        and required.unit_code = results.unit_code
        and required.place_code = results.place_code
