-- Grain: one row per administrative procedure of the register.
{{ config(unique_key='procedure_code') }}

with procedures as (
    select * from {{ ref('stg_register__procedure') }}
)

select
    procedure_code::text as procedure_code,
    procedure_name::text as procedure_name,
    field_code::text as field_code,
    field_name::text as field_name,
    limit_working_days::integer as limit_working_days,
    is_at_once::boolean as is_at_once,
    permitted_supplements::integer as permitted_supplements
from procedures
