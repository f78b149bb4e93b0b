-- Grain: one row per petition of a known unit and term of Decision 766 that ran for it: its last day, and when it was met.
{{ config(unique_key=['petition_id', 'term_code']) }}

with petitions as (
    select * from {{ ref('core_petition') }}
    where unit_code is not null and received_on is not null
),

terms as (
    select * from {{ ref('petition_term') }}
),

days as (
    select * from {{ ref('dim_calendar_day') }}
),

events as (
    select
        petitions.petition_id,
        petitions.unit_code,
        petitions.received_on,
        terms.term_code,
        terms.is_owed,
        terms.working_days,
        terms.valid_from,
        terms.valid_to,
        case terms.runs_from
            when 'receipt' then petitions.received_at
            when 'answer' then petitions.answered_at
        end as started_at,
        case terms.term_code
            when 'refuse' then petitions.refused_at
            when 'ask_supplement' then petitions.supplement_asked_at
            when 'answer' then petitions.answered_at
            when 'publish' then petitions.published_at
        end as met_at
    from petitions
    cross join terms
),

-- Nobody must refuse or ask for more: these terms run for those who did.
running as (
    select
        events.*,
        {{ local_date('events.started_at') }} as started_on,
        {{ local_date('events.met_at') }} as met_on
    from events
    where events.started_at is not null and (events.is_owed or events.met_at is not null)
)

select
    running.petition_id::text as petition_id,
    running.term_code::text as term_code,
    running.unit_code::text as unit_code,
    running.received_on::date as received_on,
    running.is_owed::boolean as is_owed,
    running.started_at::timestamptz as started_at,
    last_day.day::date as last_on,
    running.met_at::timestamptz as met_at,
    running.met_on::date as met_on
from running
inner join days as first_day on running.started_on = first_day.day
inner join days as last_day
    on
        last_day.is_working_day
        and first_day.working_day_number + running.working_days = last_day.working_day_number
where
    running.started_on >= running.valid_from
    and (running.valid_to is null or running.started_on < running.valid_to)
