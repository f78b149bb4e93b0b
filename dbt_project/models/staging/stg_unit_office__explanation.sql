-- Explanations that units owe and give (Article 3.8).
with explanations as (
    {{ version_in_force(source('raw', 'unit_explanation')) }}
),

code as (
    {{ targets_by_code('unit_office') }}
)

select
    explanations.record_key,
    explanations.batch_id,
    explanations.first_batch_id,
    explanations.explanation_id,
    {{ target_of('unit', 'explanations.unit_source_code') }} as unit_code,
    explanations.period_code,
    explanations.index_code,
    {{ target_of('cause', 'explanations.cause_code') }} as cause_code,
    explanations.document_no,
    explanations.submitted_at,
    explanations.decided_at,
    {{ target_of('decision', 'explanations.decision_code') }} as decision_code
from explanations
where explanations.op = 'upsert'
