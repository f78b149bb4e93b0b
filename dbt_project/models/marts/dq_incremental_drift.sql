-- Grain: one row per unit, day and sum that is not what its records add up to: an increment that went wrong.
{#- An increment looks at some of the days; a full build has nothing to look at. -#}
{{ config(
    alias='incremental_drift',
    unique_key=['unit_code', 'event_on', 'measure'],
    scope="held.event_on in (" ~ days_in_turn() ~ ")",
    looks_up=true,
) }}

{%- set sums = ['a_points', 'a_dossiers', 'a_excluded', 'b_points', 'b_dossiers', 'b_excluded'] %}
{%- set flows = [
    'received', 'resolved', 'stopped', 'withdrawn', 'not_accepted', 'without_moment',
    'became_overdue', 'overdue_ended', 'inherited_overdue',
] %}

-- Asked for as an array: each branch of a view then takes these days from its index.
with looked_at as (
    {%- if is_increment() %}
    {{ days_in_turn() }}
    {%- else %}
    select event_on as day from {{ ref('fct_unit_day') }}
    where false
    {%- endif %}
),

unit_days as (
    select * from {{ ref('fct_unit_day') }}
    where event_on = any(array(select looked_at.day from looked_at))
),

unit_flows as (
    select * from {{ ref('fct_unit_day_flow') }}
    where event_on = any(array(select looked_at.day from looked_at))
),

a as (
    select
        unit_code,
        result_on,
        point,
        exclusion_reason
    from {{ ref('fct_a_timeliness') }}
    where result_on = any(array(select looked_at.day from looked_at)) and unit_code is not null
),

b as (
    select
        unit_code,
        result_on,
        point,
        exclusion_reason
    from {{ ref('fct_b_guidance') }}
    where result_on = any(array(select looked_at.day from looked_at)) and unit_code is not null
),

c as (
    select * from {{ ref('fct_c_population') }}
    where rated_on = any(array(select looked_at.day from looked_at)) and unit_code is not null
),

events as (
    select * from {{ ref('fct_dossier_event') }}
    where event_on = any(array(select looked_at.day from looked_at))
),

held as (
    {%- for measure in sums %}
    select
        unit_code,
        event_on,
        '{{ measure }}' as measure,
        {{ measure }} as value
    from unit_days
    union all
    {%- endfor %}
    {%- for measure in flows %}
    select
        unit_code,
        event_on,
        '{{ measure }}' as measure,
        {{ measure }} as value
    from unit_flows
    union all
    {%- endfor %}
    select
        unit_code,
        event_on,
        'c_ratings' as measure,
        c_ratings + c_excluded as value
    from unit_days
),

found as (
    {%- for index in ['a', 'b'] %}
    {%- for measure, sum in [
        ('points', 'coalesce(sum(point), 0)'), ('dossiers', 'count(point)'), ('excluded', 'count(exclusion_reason)'),
    ] %}
    select
        unit_code,
        result_on as event_on,
        '{{ index }}_{{ measure }}' as measure,
        {{ sum }} as value
    from {{ index }}
    group by unit_code, result_on
    union all
    {%- endfor %}
    {%- endfor %}
    select
        unit_code,
        event_on,
        event as measure,
        count(*) as value
    from events
    group by unit_code, event_on, event
    union all
    select
        unit_code,
        rated_on as event_on,
        'c_ratings' as measure,
        count(*) as value
    from c
    group by unit_code, rated_on
),

compared as (
    select
        coalesce(held.unit_code, found.unit_code) as unit_code,
        coalesce(held.event_on, found.event_on) as event_on,
        coalesce(held.measure, found.measure) as measure,
        coalesce(held.value, 0) as held_value,
        coalesce(found.value, 0) as found_value
    from held
    full join found
        on held.unit_code = found.unit_code and held.event_on = found.event_on and held.measure = found.measure
)

select
    unit_code::text as unit_code,
    event_on::date as event_on,
    measure::text as measure,
    held_value::numeric(18, 6) as held_value,
    found_value::numeric(18, 6) as found_value
from compared
where held_value <> found_value
