-- Grain: one row per period and unit: what a reader of its rank should know: how much it had to do, and from whom it took over.
{{ config(alias='unit_note', unique_key=['period_code', 'unit_code']) }}

{%- set outcomes = ['resolved', 'stopped', 'withdrawn', 'not_accepted', 'without_moment'] %}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

periods as (
    select * from {{ ref('dim_period') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

successions as (
    select * from {{ ref('core_unit_succession') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
    where index_code = 'A'
),

flows as (
    select * from {{ ref('fct_unit_day_flow') }}
),

classes as (
    select
        volume_class.*,
        lead(volume_class.from_dossiers) over (
            partition by volume_class.period_kind order by volume_class.from_dossiers
        ) as below
    from {{ ref('volume_class') }} as volume_class
),

-- What lay with the unit on its first day: received before it, and not ended.
taken_over as (
    select
        units.unit_code,
        sum(flows.received - flows.{{ outcomes | join(' - flows.') }}) as dossiers,
        sum(flows.became_overdue - flows.overdue_ended) as overdue
    from units
    inner join flows on units.unit_code = flows.unit_code and units.valid_from > flows.event_on
    group by units.unit_code
),

predecessors as (
    select
        windows.period_code,
        windows.unit_code,
        string_agg(
            successions.stated_code || ' ' || successions.extent, ', '
            order by successions.succeeded_on, successions.stated_code collate "C" -- noqa: RF02
        ) as told,
        bool_and(successions.is_unbroken) as is_unbroken
    from windows
    inner join successions
        on windows.unit_code = successions.successor_code and windows.window_end > successions.succeeded_on
    group by windows.period_code, windows.unit_code
),

successors as (
    select
        windows.period_code,
        windows.unit_code,
        string_agg(
            successions.successor_code || ' ' || successions.extent, ', '
            order by successions.succeeded_on, successions.successor_code collate "C" -- noqa: RF02
        ) as told
    from windows
    inner join successions
        on windows.unit_code = successions.predecessor_code and windows.window_end >= successions.succeeded_on
    group by windows.period_code, windows.unit_code
)

select
    windows.period_code::text as period_code,
    windows.unit_code::text as unit_code,
    indices.denominator::bigint as dossiers,
    classes.volume_class::text as volume_class,
    predecessors.told::text as predecessors,
    predecessors.is_unbroken::boolean as is_unbroken,
    successors.told::text as successors,
    coalesce(taken_over.dossiers, 0)::bigint as taken_over,
    coalesce(taken_over.overdue, 0)::bigint as taken_over_overdue
from windows
inner join periods on windows.period_code = periods.period_code
inner join indices on windows.period_code = indices.period_code and windows.unit_code = indices.unit_code
left join classes
    on
        periods.period_kind = classes.period_kind
        and indices.denominator >= classes.from_dossiers
        and (classes.below is null or indices.denominator < classes.below)
left join predecessors
    on windows.period_code = predecessors.period_code and windows.unit_code = predecessors.unit_code
left join successors on windows.period_code = successors.period_code and windows.unit_code = successors.unit_code
left join taken_over on windows.unit_code = taken_over.unit_code
