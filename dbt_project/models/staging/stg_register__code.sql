-- An ignored code maps to nothing.
with codes as (
    {{ version_in_force(source('raw', 'code_map')) }}
)

select
    system,
    code_kind,
    source_code,
    case when treatment <> 'ignored' then target_code end as target_code
from codes
where op = 'upsert'
