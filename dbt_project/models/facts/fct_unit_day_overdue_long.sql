-- Grain: one row per unit and day on which dossiers became long overdue or, being so, got their result.
{{ config(materialized='view') }}

select
    dossiers.unit_code::text as unit_code,
    events.event_on::date as event_on,
    sum(events.became)::bigint as became_overdue_long,
    sum(events.ended)::bigint as overdue_long_ended
from {{ ref('fct_overdue_long') }} as dossiers
cross join lateral (values (dossiers.since_on, 1, 0), (dossiers.ended_on, 0, 1)) as events (event_on, became, ended)
where events.event_on is not null
group by dossiers.unit_code, events.event_on
