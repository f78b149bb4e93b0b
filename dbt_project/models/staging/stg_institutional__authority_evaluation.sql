-- Evaluations of units by their competent authority (Articles 5.3, 7.3, 8.3).
with sheets as (
    {{ version_in_force(source('raw', 'authority_evaluation')) }}
)

select
    sheets.record_key,
    sheets.batch_id,
    sheets.first_batch_id,
    sheets.sheet_id,
    {{ target_of('institutional', 'unit', 'sheets.unit_source_code') }} as unit_code,
    {{ target_of('institutional', 'unit', 'sheets.evaluator_source_code') }} as evaluator_unit_code,
    sheets.period_code,
    {{ target_of('institutional', 'criterion', 'sheets.criterion_code') }} as criterion_code,
    sheets.score,
    sheets.max_score,
    sheets.rank,
    sheets.evaluated_on
from sheets
where sheets.op = 'upsert'
