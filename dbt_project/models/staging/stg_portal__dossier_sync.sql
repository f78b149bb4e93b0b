-- The national portal's copy of the dossiers: the version in force of each.
with copies as (
    {{ version_in_force(source('raw', 'dossier_sync')) }}
),

code as (
    select * from {{ ref('stg_register__code') }}
    where system = 'portal'
)

select
    copies.record_key,
    copies.batch_id,
    copies.first_batch_id,
    copies.dossier_code,
    -- A local suffix follows the first two parts: 1.001193.000.00.00.H29.
    coalesce(substring(copies.procedure_code from '^[^.]+\.[^.]+'), copies.procedure_code) as procedure_code,
    channel.target_code as channel_code,
    status.target_code as status_code,
    copies.received_at,
    coalesce(copies.received_at_is_date, false) as received_at_is_date,
    copies.due_at,
    coalesce(copies.due_at_is_date, false) as due_at_is_date,
    copies.finished_at,
    coalesce(copies.finished_at_is_date, false) as finished_at_is_date,
    copies.returned_at,
    coalesce(copies.returned_at_is_date, false) as returned_at_is_date,
    resolving.target_code as resolving_unit_code,
    receiving.target_code as receiving_unit_code,
    timeliness.target_code as timeliness_code,
    copies.updated_at
from copies
left join code as channel
    on channel.code_kind = 'channel' and copies.channel_code = channel.source_code
left join code as status
    on status.code_kind = 'dossier_status' and copies.status_code = status.source_code
left join code as resolving
    on resolving.code_kind = 'unit' and copies.resolving_unit_source_code = resolving.source_code
left join code as receiving
    on receiving.code_kind = 'unit' and copies.receiving_unit_source_code = receiving.source_code
left join code as timeliness
    on timeliness.code_kind = 'timeliness' and copies.timeliness_code = timeliness.source_code
where copies.op = 'upsert'
