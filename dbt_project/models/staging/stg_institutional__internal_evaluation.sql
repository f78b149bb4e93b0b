-- Internal evaluations of parts of a unit (Articles 5.2, 7.2, 8.2). Officials stay in raw, under their pseudonym.
with sheets as (
    {{ version_in_force(source('raw', 'internal_evaluation')) }}
)

select
    sheets.record_key,
    sheets.batch_id,
    sheets.first_batch_id,
    sheets.sheet_id,
    {{ target_of('institutional', 'unit', 'sheets.unit_source_code') }} as unit_code,
    sheets.sub_unit_name,
    sheets.official is not null as is_about_official,
    sheets.period_code,
    {{ target_of('institutional', 'grade', 'sheets.grade_code') }} as grade_code,
    sheets.score,
    sheets.max_score,
    sheets.evaluated_on
from sheets
where sheets.op = 'upsert'
