-- Grain: one row per successor, predecessor as the register names it, and day: what passed to whom, and whether unbroken.
{{ config(unique_key=['successor_code', 'stated_code', 'succeeded_on']) }}

with stated as (
    select * from {{ ref('stg_register__succession') }}
    where predecessor_code <> successor_code
),

units as (
    select * from {{ ref('dim_unit') }}
),

-- Told twice, the smaller extent counts; what is not plainly the whole is a part.
told as (
    select
        successor_code,
        predecessor_code,
        succeeded_on,
        coalesce(bool_and(extent = 'full'), false) as is_whole
    from stated
    group by successor_code, predecessor_code, succeeded_on
),

-- Predecessors that nobody registered are counted too: with one of them left out, another would look like the only one.
counted as (
    select
        told.*,
        count(*) over (partition by told.successor_code, told.succeeded_on) as predecessor_count,
        count(*) over (partition by told.predecessor_code, told.succeeded_on) as successor_count
    from told
)

select
    counted.successor_code::text as successor_code,
    counted.predecessor_code::text as stated_code,
    predecessors.unit_code::text as predecessor_code,
    counted.succeeded_on::date as succeeded_on,
    case when counted.is_whole then 'full' else 'partial' end::text as extent,
    counted.predecessor_count::integer as predecessor_count,
    counted.successor_count::integer as successor_count,
    -- Exactly one passed on exactly its own territory: it ended, and its successor began, on that very day.
    coalesce(
        counted.is_whole
        and counted.predecessor_count = 1
        and counted.successor_count = 1
        and counted.succeeded_on = successors.valid_from
        and counted.succeeded_on = predecessors.valid_to,
        false
    )::boolean as is_unbroken
from counted
inner join units as successors on counted.successor_code = successors.unit_code
left join units as predecessors on counted.predecessor_code = predecessors.unit_code
