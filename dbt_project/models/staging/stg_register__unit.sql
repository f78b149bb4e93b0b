with units as (
    {{ version_in_force(source('raw', 'unit_register')) }}
)

select
    unit_code,
    unit_name,
    unit_name_en,
    unit_kind,
    peer_group,
    peer_group_name,
    parent_unit_code,
    valid_from,
    valid_to,
    coalesce(is_scored, false) as is_scored,
    coalesce(is_receiving_only, false) as is_receiving_only,
    posting_places,
    gso_code
from units
where op = 'upsert'
