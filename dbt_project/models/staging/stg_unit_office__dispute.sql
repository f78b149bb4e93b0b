-- Objections of units to records of their own, before the cut-off.
with disputes as (
    {{ version_in_force(source('raw', 'record_dispute')) }}
)

select
    disputes.record_key,
    disputes.batch_id,
    disputes.first_batch_id,
    disputes.dispute_id,
    {{ target_of('unit_office', 'unit', 'disputes.unit_source_code') }} as unit_code,
    disputes.disputed_feed,
    disputes.disputed_key,
    {{ target_of('unit_office', 'dispute_reason', 'disputes.reason_code') }} as reason_code,
    disputes.raised_at,
    disputes.decided_at,
    {{ target_of('unit_office', 'decision', 'disputes.decision_code') }} as decision_code
from disputes
where disputes.op = 'upsert'
