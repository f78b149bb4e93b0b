-- Grain: one row per unit and day on which dossiers came in, ended, or became overdue.
{{ config(
    unique_key=['event_on', 'unit_code'],
    scope=in_touched_cells('held.unit_code', 'held.event_on', 'flow'),
    looks_up=true,
) }}

{%- set counted = [
    'received', 'resolved', 'stopped', 'withdrawn', 'not_accepted', 'without_moment',
    'became_overdue', 'overdue_ended', 'inherited_overdue',
] %}

with events as (
    select * from {{ ref('fct_dossier_event') }}
    {%- if is_increment() %}
    where {{ in_touched_cells('unit_code', 'event_on', 'flow') }}
    {%- endif %}
)

select
    {% for event in counted %}
    count(*) filter (where event = '{{ event }}')::bigint as {{ event }},
    {% endfor %}
    unit_code::text as unit_code,
    event_on::date as event_on
from events
group by unit_code, event_on
{{ written_by('event_on') }}
