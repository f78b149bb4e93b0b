-- What units say of themselves (Articles 5.4, 10).
with lines as (
    {{ version_in_force(source('raw', 'self_evaluation')) }}
)

select
    lines.record_key,
    lines.batch_id,
    lines.first_batch_id,
    lines.line_id,
    {{ target_of('unit_office', 'unit', 'lines.unit_source_code') }} as unit_code,
    lines.period_code,
    {{ target_of('unit_office', 'criterion', 'lines.criterion_code') }} as criterion_code,
    lines.score,
    lines.max_score,
    lines.evaluated_on
from lines
where lines.op = 'upsert'
