-- Internal evaluations of officials under their pseudonym (Articles 5.2, 8.2): for the restricted schema only.
with sheets as (
    {{ version_in_force(source('raw', 'internal_evaluation')) }}
)

select
    sheets.sheet_id,
    {{ target_of('institutional', 'unit', 'sheets.unit_source_code') }} as unit_code,
    sheets.sub_unit_name,
    sheets.official,
    sheets.period_code,
    {{ target_of('institutional', 'grade', 'sheets.grade_code') }} as grade_code,
    sheets.score,
    sheets.max_score,
    sheets.evaluated_on
from sheets
where sheets.op = 'upsert' and sheets.official is not null
