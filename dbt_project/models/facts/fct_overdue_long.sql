-- Grain: one row per dossier that became long overdue: open, or with a result that came after that.
{{ config(
    unique_key='dossier_code',
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
) }}

with results as (
    select * from {{ ref('fct_a_timeliness') }}
    where
        result_on > due_on
        and unit_code is not null
        and (exclusion_reason is null or exclusion_reason = 'inherited_overdue')
        {%- if is_increment() %}
        and dossier_code in ({{ touched_records('dossier') }})
        {%- endif %}
),

open_dossiers as (
    select * from {{ ref('fct_open_dossier') }}
    where
        due_on is not null and unit_code is not null
        {%- if is_increment() %}
        and dossier_code in ({{ touched_records('dossier') }})
        {%- endif %}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

days as (
    select * from {{ ref('dim_calendar_day') }}
),

past_due as (
    select
        dossier_code,
        unit_code,
        policy_id,
        due_on,
        result_on
    from results
    union all
    select
        dossier_code,
        unit_code,
        policy_id,
        due_on,
        null::date as result_on
    from open_dossiers
)

-- Long overdue from the first working day that is more working days past due than the policy lets pass.
select
    past_due.dossier_code::text as dossier_code,
    past_due.unit_code::text as unit_code,
    since_day.day::date as since_on,
    past_due.result_on::date as ended_on
from past_due
inner join policies on past_due.policy_id = policies.policy_id
inner join days as due_day on past_due.due_on = due_day.day
inner join days as since_day
    on
        since_day.is_working_day
        and due_day.working_day_number + policies.overdue_long_days + 1 = since_day.working_day_number
where past_due.result_on is null or since_day.day < past_due.result_on
