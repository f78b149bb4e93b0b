-- Explanations that units owe and give (Article 3.8).
with explanations as (
    {{ version_in_force(source('raw', 'unit_explanation')) }}
)

select
    explanations.record_key,
    explanations.batch_id,
    explanations.first_batch_id,
    explanations.explanation_id,
    {{ target_of('unit_office', 'unit', 'explanations.unit_source_code') }} as unit_code,
    explanations.period_code,
    explanations.index_code,
    {{ target_of('unit_office', 'cause', 'explanations.cause_code') }} as cause_code,
    explanations.document_no,
    explanations.submitted_at,
    explanations.decided_at,
    {{ target_of('unit_office', 'decision', 'explanations.decision_code') }} as decision_code
from explanations
where explanations.op = 'upsert'
