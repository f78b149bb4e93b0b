with procedures as (
    {{ version_in_force(source('raw', 'procedure_register')) }}
)

select
    procedure_code,
    procedure_name,
    field_code,
    field_name,
    limit_working_days,
    coalesce(is_at_once, false) as is_at_once,
    permitted_supplements
from procedures
where op = 'upsert'
