-- The national portal's copy of the dossiers: the version in force of each.
with copies as (
    {{ version_in_force(source('raw', 'dossier_sync')) }}
),

code as (
    {{ targets_by_code('portal') }}
)

select
    copies.record_key,
    copies.batch_id,
    copies.first_batch_id,
    copies.dossier_code,
    -- A local suffix follows the first two parts: 1.001193.000.00.00.H29.
    coalesce(substring(copies.procedure_code from '^[^.]+\.[^.]+'), copies.procedure_code) as procedure_code,
    {{ target_of('channel', 'copies.channel_code') }} as channel_code,
    {{ target_of('dossier_status', 'copies.status_code') }} as status_code,
    copies.received_at,
    coalesce(copies.received_at_is_date, false) as received_at_is_date,
    copies.due_at,
    coalesce(copies.due_at_is_date, false) as due_at_is_date,
    copies.finished_at,
    coalesce(copies.finished_at_is_date, false) as finished_at_is_date,
    copies.returned_at,
    coalesce(copies.returned_at_is_date, false) as returned_at_is_date,
    {{ target_of('unit', 'copies.resolving_unit_source_code') }} as resolving_unit_code,
    {{ target_of('unit', 'copies.receiving_unit_source_code') }} as receiving_unit_code,
    {{ target_of('timeliness', 'copies.timeliness_code') }} as timeliness_code,
    copies.updated_at
from copies
where copies.op = 'upsert'
