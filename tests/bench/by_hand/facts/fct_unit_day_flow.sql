-- Each dossier is read once for each of the days that something happened to it on: it came in, it ended, it became overdue.
with counted as (
    select
        unit_code,
        entered_on,
        result_on,
        overdue_after,
        ended_on = entered_on as ended_at_once,
        case when outcome in ('resolved', 'stopped') and result_on is null then 'without_moment' else outcome end as at_once,
        case when ended_on = result_on and ended_on <> entered_on then outcome end as ended,
        is_result and overdue_after is not null as is_overdue_ended,
        is_result and is_inherited_overdue and coalesce(is_received_first, true) as is_inherited
    from by_hand_facts.fct_dossier
    where
        not is_test_record
        and outcome is not null
        and (outcome <> 'open' or policy_id is not null)
        and unit_code is not null
),

event as (
    select
        unit_code,
        entered_on as event_on,
        count(*) as received,
        count(*) filter (where ended_at_once and at_once = 'resolved') as resolved,
        count(*) filter (where ended_at_once and at_once = 'stopped') as stopped,
        count(*) filter (where ended_at_once and at_once = 'withdrawn') as withdrawn,
        count(*) filter (where ended_at_once and at_once = 'not_accepted') as not_accepted,
        count(*) filter (where ended_at_once and at_once = 'without_moment') as without_moment,
        0 as became_overdue,
        0 as overdue_ended,
        0 as inherited_overdue
    from counted
    where entered_on is not null
    group by unit_code, entered_on
    union all
    select
        unit_code,
        result_on as event_on,
        0 as received,
        count(*) filter (where ended = 'resolved') as resolved,
        count(*) filter (where ended = 'stopped') as stopped,
        count(*) filter (where ended = 'withdrawn') as withdrawn,
        count(*) filter (where ended = 'not_accepted') as not_accepted,
        0 as without_moment,
        0 as became_overdue,
        count(*) filter (where is_overdue_ended) as overdue_ended,
        count(*) filter (where is_inherited) as inherited_overdue
    from counted
    where result_on is not null and (ended is not null or is_overdue_ended or is_inherited)
    group by unit_code, result_on
    union all
    select
        unit_code,
        overdue_after as event_on,
        0 as received,
        0 as resolved,
        0 as stopped,
        0 as withdrawn,
        0 as not_accepted,
        0 as without_moment,
        count(*) as became_overdue,
        0 as overdue_ended,
        0 as inherited_overdue
    from counted
    where overdue_after is not null
    group by unit_code, overdue_after
)

select
    sum(received)::bigint as received,
    sum(resolved)::bigint as resolved,
    sum(stopped)::bigint as stopped,
    sum(withdrawn)::bigint as withdrawn,
    sum(not_accepted)::bigint as not_accepted,
    sum(without_moment)::bigint as without_moment,
    sum(became_overdue)::bigint as became_overdue,
    sum(overdue_ended)::bigint as overdue_ended,
    sum(inherited_overdue)::bigint as inherited_overdue,
    unit_code,
    event_on
from event
group by unit_code, event_on
