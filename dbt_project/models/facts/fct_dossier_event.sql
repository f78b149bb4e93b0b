-- Grain: one row per dossier and thing that happened to it on a day: it came in, ended, became overdue, was overdue no more.
{{ config(materialized='view') }}

{#- Each day stands in a column with an index: an event is found by its unit and day. -#}
{%- set events = [
    ('entered_on', "'received'", 'true'),
    (
        'entered_on',
        "case when outcome in ('resolved', 'stopped') and result_on is null then 'without_moment' else outcome end",
        'ended_on = entered_on',
    ),
    ('result_on', 'outcome', 'ended_on = result_on and ended_on <> entered_on'),
    ('overdue_after', "'became_overdue'", 'true'),
    ('result_on', "'overdue_ended'", 'is_result and overdue_after is not null'),
    (
        'result_on',
        "'inherited_overdue'",
        'is_result and is_inherited_overdue and coalesce(is_received_first, true)',
    ),
] %}

{% for day, event, condition in events -%}
select
    dossier_code::text as dossier_code,
    unit_code::text as unit_code,
    {{ day }}::date as event_on,
    {{ event }}::text as event
from {{ ref('fct_dossier') }}
where
    not is_test_record
    and outcome is not null
    and (outcome <> 'open' or policy_id is not null)
    and unit_code is not null
    and {{ day }} is not null
    and {{ condition }}
{{ 'union all' if not loop.last }}
{% endfor %}
