-- Kiosks and tablets inside the unit register in force.
with units as (
    {{ version_in_force(source('raw', 'unit_register')) }}
)

select
    units.unit_code,
    item.content ->> 'device_code' as device_code,
    item.content ->> 'device_kind' as device_kind,
    item.content ->> 'place' as place,
    (item.content ->> 'valid_from')::date as valid_from,
    (item.content ->> 'valid_to')::date as valid_to
from units
cross join lateral jsonb_array_elements(units.devices) as item (content)
where units.op = 'upsert' and jsonb_typeof(units.devices) = 'array'
