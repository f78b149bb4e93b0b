-- Grain: one row per month, quarter and year that the loaded data touch, under the calendar of its policy.
{{ config(unique_key='period_code') }}

with batches as (
    select * from {{ ref('stg_ops__batch') }}
),

periods as (
    select * from {{ ref('publication_calendar') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

loaded as (
    select
        {{ local_date('min(window_start)') }} as loaded_from,
        {{ local_date('max(window_end)') }} as loaded_to
    from batches
    where feed in ('{{ var("event_feeds") | join("', '") }}') -- noqa: LT05
),

-- The policy in force on the last day of the period; before any policy, the first one.
ruled as (
    select distinct on (periods.calendar_code, periods.period_code)
        periods.*,
        policies.policy_id,
        policies.calendar_code as policy_calendar_code,
        policies.valid_from as policy_valid_from,
        policies.valid_to as policy_valid_to
    from periods
    cross join policies
    order by
        periods.calendar_code,
        periods.period_code,
        policies.valid_from < periods.period_end desc,
        case when policies.valid_from < periods.period_end then policies.valid_from end desc,
        policies.valid_from
)

select
    ruled.period_code::text as period_code,
    ruled.calendar_code::text as calendar_code,
    ruled.period_kind::text as period_kind,
    ruled.period_start::date as period_start,
    ruled.period_end::date as period_end,
    ruled.cutoff_at::timestamp as cutoff_at,
    ruled.due_at::timestamp as due_at,
    ruled.hard_due_at::timestamp as hard_due_at,
    ruled.policy_id::text as policy_id,
    ruled.policy_valid_from::date as policy_valid_from,
    ruled.policy_valid_to::date as policy_valid_to
from ruled
inner join loaded on ruled.period_end > loaded.loaded_from and ruled.period_start < loaded.loaded_to
where
    ruled.calendar_code = ruled.policy_calendar_code
    and (ruled.policy_valid_to is null or ruled.policy_valid_to > ruled.period_start)
