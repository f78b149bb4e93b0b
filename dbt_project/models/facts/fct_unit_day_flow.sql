-- Grain: one row per unit and day on which dossiers came in, ended, or became overdue.
{{ config(unique_key=['unit_code', 'event_on']) }}

{%- set counted = [
    'received', 'resolved', 'stopped', 'withdrawn', 'not_accepted', 'without_moment',
    'became_overdue', 'overdue_ended', 'inherited_overdue',
] %}

with dossiers as (
    select * from {{ ref('core_dossier') }}
    where not is_test_record
),

statuses as (
    select * from {{ ref('dossier_status') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

judged as (
    select * from {{ ref('fct_a_timeliness') }}
    where due_on is not null and (exclusion_reason is null or exclusion_reason = 'inherited_overdue')
),

open_dossiers as (
    select * from {{ ref('fct_open_dossier') }}
),

-- What has ended: with a moment on the day of its result, else nobody knows when, and it ends on the day of its receipt.
ended as (
    select
        case
            when policies.policy_id is null then dossiers.resolving_unit_code
            else {{ attributed_to('dossiers', 'policies') }}
        end as unit_code,
        case
            when statuses.outcome in ('resolved', 'stopped') and dossiers.result_on is null then 'without_moment'
            else statuses.outcome
        end as outcome,
        coalesce(dossiers.received_on, dossiers.result_on) as received_on,
        case
            when statuses.outcome in ('resolved', 'stopped') and dossiers.result_on is not null
                then greatest(dossiers.received_on, dossiers.result_on)
            else coalesce(dossiers.received_on, dossiers.result_on)
        end as ended_on,
        greatest(dossiers.received_on, judged.due_on) as overdue_after,
        judged.result_on as judged_on,
        coalesce(judged.is_inherited_overdue, false) as is_inherited_overdue
    from dossiers
    inner join statuses on dossiers.status_code = statuses.status_code
    left join policies
        on
            dossiers.result_on >= policies.valid_from
            and (policies.valid_to is null or dossiers.result_on < policies.valid_to)
    left join judged on dossiers.dossier_code = judged.dossier_code
    where statuses.outcome <> 'open'
),

events as (
    select
        unit_code,
        received_on as event_on,
        'received' as event
    from ended
    union all
    select
        unit_code,
        ended_on as event_on,
        outcome as event
    from ended
    union all
    select
        unit_code,
        overdue_after as event_on,
        'became_overdue' as event
    from ended
    where overdue_after < judged_on
    union all
    select
        unit_code,
        judged_on as event_on,
        'overdue_ended' as event
    from ended
    where overdue_after < judged_on
    union all
    select
        unit_code,
        judged_on as event_on,
        'inherited_overdue' as event
    from ended
    where is_inherited_overdue
    union all
    select
        unit_code,
        received_on as event_on,
        'received' as event
    from open_dossiers
    union all
    select
        unit_code,
        overdue_after as event_on,
        'became_overdue' as event
    from open_dossiers
    where due_on is not null
)

select
    {% for event in counted %}
    count(*) filter (where event = '{{ event }}')::bigint as {{ event }},
    {% endfor %}
    unit_code::text as unit_code,
    event_on::date as event_on
from events
where unit_code is not null and event_on is not null
group by unit_code, event_on
