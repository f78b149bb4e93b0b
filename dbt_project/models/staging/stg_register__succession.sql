-- Predecessors inside the unit register in force; without a day of its own a succession is that of the unit's first day.
with units as (
    {{ version_in_force(source('raw', 'unit_register')) }}
)

select
    units.unit_code as successor_code,
    item.content ->> 'unit_code' as predecessor_code,
    item.content ->> 'extent' as extent,
    coalesce((item.content ->> 'succeeded_on')::date, units.valid_from) as succeeded_on
from units
cross join lateral jsonb_array_elements(units.predecessors) as item (content)
where units.op = 'upsert' and jsonb_typeof(units.predecessors) = 'array'
