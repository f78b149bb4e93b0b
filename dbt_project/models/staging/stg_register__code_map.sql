-- The code map of each source system as a single value.
with codes as (
    select * from {{ ref('stg_register__code') }}
)

select
    system,
    jsonb_object_agg(code_kind || '|' || source_code, target_code) as targets
from codes
group by system
