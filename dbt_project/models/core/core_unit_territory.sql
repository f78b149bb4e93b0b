-- Grain: one row per unit and stretch of its life with one and the same territory; over an unbroken succession that goes on.
{{ config(unique_key=['unit_code', 'valid_from']) }}

with recursive

units as (
    select * from {{ ref('dim_unit') }}
),

successions as (
    select * from {{ ref('core_unit_succession') }}
),

-- Days on which a unit that lived on took something over or gave something away.
changes as (
    select
        successor_code as unit_code,
        succeeded_on as day
    from successions
    union
    select
        predecessor_code as unit_code,
        succeeded_on as day
    from successions
),

starts as (
    select
        unit_code,
        valid_from as day,
        valid_to
    from units
    union
    select
        units.unit_code,
        changes.day,
        units.valid_to
    from units
    inner join changes
        on
            units.unit_code = changes.unit_code
            and units.valid_from < changes.day
            and (units.valid_to is null or units.valid_to > changes.day)
),

stretches as (
    select
        starts.unit_code,
        starts.day as valid_from,
        coalesce(lead(starts.day) over (partition by starts.unit_code order by starts.day), starts.valid_to) as valid_to
    from starts
),

unbroken as (
    select * from successions
    where is_unbroken
),

-- Units that took over from others when they began.
heirs as (
    select distinct successions.successor_code as unit_code
    from successions
    inner join units on successions.successor_code = units.unit_code
    where successions.succeeded_on <= units.valid_from
),

-- A successor begins later than whom it succeeds: the lines have an end.
lines as (
    select
        stretches.unit_code,
        stretches.valid_from,
        stretches.valid_to,
        stretches.unit_code || '@' || stretches.valid_from::text as territory_code,
        stretches.valid_from as territory_from,
        stretches.valid_from > units.valid_from or heirs.unit_code is not null as begins_by_succession
    from stretches
    inner join units on stretches.unit_code = units.unit_code
    left join heirs on stretches.unit_code = heirs.unit_code
    where
        not exists (
            select 1 from unbroken
            where stretches.unit_code = unbroken.successor_code and stretches.valid_from = unbroken.succeeded_on
        )
    union all
    select
        stretches.unit_code,
        stretches.valid_from,
        stretches.valid_to,
        lines.territory_code,
        lines.territory_from,
        lines.begins_by_succession
    from lines
    inner join unbroken on lines.unit_code = unbroken.predecessor_code and lines.valid_to = unbroken.succeeded_on
    inner join stretches
        on unbroken.successor_code = stretches.unit_code and unbroken.succeeded_on = stretches.valid_from
)

select
    unit_code::text as unit_code,
    valid_from::date as valid_from,
    valid_to::date as valid_to,
    territory_code::text as territory_code,
    territory_from::date as territory_from,
    begins_by_succession::boolean as begins_by_succession
from lines
