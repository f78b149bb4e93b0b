-- Grain: one row per record and reason: open matters that a head of unit should look at, as of the last day read (Article 11.2).
{{ config(alias='watch_list', unique_key=['record_kind', 'record_key', 'reason']) }}

with batches as (
    select * from {{ ref('dim_batch') }}
),

open_dossiers as (
    select * from {{ ref('fct_open_dossier') }}
    where unit_code is not null
),

supplements as (
    select * from {{ ref('core_supplement') }}
    where is_return and requested_at is not null
),

petitions as (
    select * from {{ ref('core_petition') }}
    where unit_code is not null and received_on is not null and is_satisfied is distinct from true
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

days as (
    select * from {{ ref('dim_calendar_day') }}
),

reached as (
    select
        feed,
        {{ local_date('max(window_end)') }} - 1 as last_day
    from batches
    where feed in ('dossier', 'petition')
    group by feed
),

-- The last day read, the policy in force on it, and how many working days had gone by then.
today as (
    select
        reached.feed,
        reached.last_day,
        days.working_day_number,
        policies.*
    from reached
    inner join days on reached.last_day = days.day
    inner join policies
        on
            reached.last_day >= policies.valid_from
            and (policies.valid_to is null or reached.last_day < policies.valid_to)
),

overdue as (
    select
        open_dossiers.unit_code,
        'dossier' as record_kind,
        open_dossiers.dossier_code as record_key,
        'overdue_long' as reason,
        open_dossiers.due_on as since_on,
        today.working_day_number - days.working_day_number as how_many,
        today.last_day
    from open_dossiers
    inner join today on today.feed = 'dossier'
    inner join days on open_dossiers.due_on = days.day
    where today.working_day_number - days.working_day_number > today.overdue_long_days
),

returns as (
    select
        open_dossiers.unit_code,
        open_dossiers.dossier_code,
        min({{ local_date('supplements.requested_at') }}) as since_on,
        count(distinct supplements.supplement_id) as how_many
    from open_dossiers
    inner join supplements on open_dossiers.dossier_code = supplements.dossier_code
    group by open_dossiers.unit_code, open_dossiers.dossier_code
),

returned as (
    select
        returns.unit_code,
        'dossier' as record_kind,
        returns.dossier_code as record_key,
        'returned_often' as reason,
        returns.since_on,
        returns.how_many,
        today.last_day
    from returns
    inner join today on today.feed = 'dossier'
    where returns.how_many > today.b_max_returns
),

resent as (
    select
        petitions.unit_code,
        'petition' as record_kind,
        petitions.petition_id as record_key,
        'resent_often' as reason,
        petitions.received_on as since_on,
        petitions.resent_count as how_many,
        today.last_day
    from petitions
    inner join today on today.feed = 'petition'
    where petitions.resent_count >= today.petition_resent_often
),

unanswered as (
    select
        petitions.unit_code,
        'petition' as record_kind,
        petitions.petition_id as record_key,
        'unanswered_long' as reason,
        petitions.received_on as since_on,
        today.working_day_number - days.working_day_number as how_many,
        today.last_day
    from petitions
    inner join today on today.feed = 'petition'
    inner join days on petitions.received_on = days.day
    where
        petitions.answered_at is null
        and petitions.refused_at is null
        and today.working_day_number - days.working_day_number > today.petition_unanswered_days
),

watched as (
    select * from overdue
    union all
    select * from returned
    union all
    select * from resent
    union all
    select * from unanswered
)

select
    unit_code::text as unit_code,
    record_kind::text as record_kind,
    record_key::text as record_key,
    reason::text as reason,
    since_on::date as since_on,
    how_many::integer as how_many,
    last_day::date as as_of_on
from watched
