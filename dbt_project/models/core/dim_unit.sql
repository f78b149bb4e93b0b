-- Grain: one row per unit of the register.
{{ config(unique_key='unit_code') }}

with units as (
    select * from {{ ref('stg_register__unit') }}
)

select
    unit_code::text as unit_code,
    unit_name::text as unit_name,
    unit_name_en::text as unit_name_en,
    unit_kind::text as unit_kind,
    peer_group::text as peer_group,
    peer_group_name::text as peer_group_name,
    parent_unit_code::text as parent_unit_code,
    valid_from::date as valid_from,
    valid_to::date as valid_to,
    is_scored::boolean as is_scored,
    is_receiving_only::boolean as is_receiving_only,
    posting_places::text as posting_places,
    gso_code::text as gso_code
from units
