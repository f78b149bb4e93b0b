with checks as (
    {{ version_in_force(source('raw', 'posting_check')) }}
),

code as (
    select * from {{ ref('stg_register__code') }}
    where system = 'inspection'
)

select
    checks.check_id,
    unit.target_code as unit_code,
    place.target_code as place_code,
    checks.checked_on,
    result.target_code as result_code,
    checker.target_code as checker_kind
from checks
left join code as unit
    on unit.code_kind = 'unit' and checks.unit_source_code = unit.source_code
left join code as place
    on place.code_kind = 'posting_place' and checks.place_source_code = place.source_code
left join code as result
    on result.code_kind = 'posting_result' and checks.result_source_code = result.source_code
left join code as checker
    on checker.code_kind = 'checker_kind' and checks.checker_kind_source_code = checker.source_code
where checks.op = 'upsert'
