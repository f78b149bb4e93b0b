-- Grain: one row per period and unit: what came in, what became of it, and what index A does not show.
{{ config(
    alias='dossier_flow',
    unique_key=['period_code', 'unit_code'],
    scope="held.period_code in (" ~ touched_flow_periods() ~ ")",
) }}

{%- set outcomes = ['resolved', 'stopped', 'withdrawn', 'not_accepted', 'without_moment'] %}

with windows as (
    select * from {{ ref('core_unit_window') }}
    {%- if is_increment() %}
    where period_code in ({{ touched_flow_periods() }})
    {%- endif %}
),

flows as (
    select * from {{ ref('fct_unit_day_flow') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
    where index_code = 'A'
),

counted as (
    select
        windows.period_code,
        windows.unit_code,
        {%- for event in ['received', 'inherited_overdue'] + outcomes %}
        coalesce(sum(flows.{{ event }}) filter (where flows.event_on >= windows.window_start), 0) as {{ event }},
        {%- endfor %}
        coalesce(sum(
            flows.received - flows.{{ outcomes | join(' - flows.') }}
        ) filter (where flows.event_on < windows.window_start), 0) as open_at_start,
        coalesce(sum(flows.received - flows.{{ outcomes | join(' - flows.') }}), 0) as open_at_end,
        coalesce(sum(flows.became_overdue - flows.overdue_ended), 0) as open_overdue
    from windows
    left join flows on windows.unit_code = flows.unit_code and windows.window_end > flows.event_on
    group by windows.period_code, windows.unit_code
)

select
    counted.period_code::text as period_code,
    counted.unit_code::text as unit_code,
    counted.open_at_start::bigint as open_at_start,
    counted.received::bigint as received,
    {%- for outcome in outcomes %}
    counted.{{ outcome }}::bigint as {{ outcome }},
    {%- endfor %}
    counted.open_at_end::bigint as open_at_end,
    counted.open_overdue::bigint as open_overdue,
    counted.inherited_overdue::bigint as inherited_overdue,
    case
        when indices.status in ('scored', 'no_data')
            then round({{ quotient('indices.numerator', '(indices.denominator + counted.open_overdue)') }}, 15)
    end::numeric(20, 15) as a_with_open,
    round({{ quotient('counted.withdrawn', 'counted.received / 1000.0') }}, 15)::numeric(20, 15) as withdrawn_per_1000
from counted
inner join indices on counted.period_code = indices.period_code and counted.unit_code = indices.unit_code
