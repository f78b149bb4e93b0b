-- Remedies that units promised (Article 12.2).
with actions as (
    {{ version_in_force(source('raw', 'unit_action')) }}
)

select
    actions.record_key,
    actions.batch_id,
    actions.first_batch_id,
    actions.action_id,
    {{ target_of('unit_office', 'unit', 'actions.unit_source_code') }} as unit_code,
    actions.explanation_id,
    {{ target_of('unit_office', 'remedy', 'actions.remedy_code') }} as remedy_code,
    actions.due_on,
    actions.done_on,
    actions.evidence_no
from actions
where actions.op = 'upsert'
