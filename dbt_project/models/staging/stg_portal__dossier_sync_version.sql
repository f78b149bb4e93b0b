-- Every version of the national portal's copy of the dossiers that the build may see, codes mapped to ours.
select
    copies.record_key,
    copies.batch_id,
    copies.op,
    copies.dossier_code,
    -- A local suffix follows the first two parts: 1.001193.000.00.00.H29.
    coalesce(substring(copies.procedure_code from '^[^.]+\.[^.]+'), copies.procedure_code) as procedure_code,
    {{ target_of('portal', 'channel', 'copies.channel_code') }} as channel_code,
    {{ target_of('portal', 'dossier_status', 'copies.status_code') }} as status_code,
    copies.received_at,
    coalesce(copies.received_at_is_date, false) as received_at_is_date,
    copies.due_at,
    coalesce(copies.due_at_is_date, false) as due_at_is_date,
    copies.finished_at,
    coalesce(copies.finished_at_is_date, false) as finished_at_is_date,
    copies.returned_at,
    coalesce(copies.returned_at_is_date, false) as returned_at_is_date,
    {{ target_of('portal', 'unit', 'copies.resolving_unit_source_code') }} as resolving_unit_code,
    {{ target_of('portal', 'unit', 'copies.receiving_unit_source_code') }} as receiving_unit_code,
    {{ target_of('portal', 'timeliness', 'copies.timeliness_code') }} as timeliness_code,
    copies.updated_at
from {{ source('raw', 'dossier_sync') }} as copies
where {{ as_of('dossier_sync', 'copies') }}
