-- Grain: one row per unit and day on which dossiers became long overdue or, being so, got their result.
{{ config(unique_key=['unit_code', 'event_on']) }}

with results as (
    select * from {{ ref('fct_a_timeliness') }}
    where
        result_on > due_on
        and unit_code is not null
        and (exclusion_reason is null or exclusion_reason = 'inherited_overdue')
),

open_dossiers as (
    select * from {{ ref('fct_open_dossier') }}
    where due_on is not null and unit_code is not null
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

days as (
    select * from {{ ref('dim_calendar_day') }}
),

past_due as (
    select
        unit_code,
        policy_id,
        due_on,
        result_on
    from results
    union all
    select
        unit_code,
        policy_id,
        due_on,
        null as result_on
    from open_dossiers
),

-- Long overdue from the first working day that is more working days past due than the policy lets pass.
long_overdue as (
    select
        past_due.unit_code,
        since_day.day as since_on,
        past_due.result_on
    from past_due
    inner join policies on past_due.policy_id = policies.policy_id
    inner join days as due_day on past_due.due_on = due_day.day
    inner join days as since_day
        on
            since_day.is_working_day
            and due_day.working_day_number + policies.overdue_long_days + 1 = since_day.working_day_number
    where past_due.result_on is null or since_day.day < past_due.result_on
),

events as (
    select
        unit_code,
        since_on as event_on,
        1 as became,
        0 as ended
    from long_overdue
    union all
    select
        unit_code,
        result_on as event_on,
        0 as became,
        1 as ended
    from long_overdue
    where result_on is not null
)

select
    unit_code::text as unit_code,
    event_on::date as event_on,
    sum(became)::bigint as became_overdue_long,
    sum(ended)::bigint as overdue_long_ended
from events
group by unit_code, event_on
