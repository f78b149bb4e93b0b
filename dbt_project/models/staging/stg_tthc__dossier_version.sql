-- Every version of every dossier that the build may see, codes mapped to ours.
with versions as (
    select * from {{ source('raw', 'dossier') }}
    where {{ as_of() }}
),

code as (
    select * from {{ ref('stg_register__code') }}
    where system = 'tthc'
)

select
    versions.record_key,
    versions.batch_id,
    versions.op,
    versions.dossier_code,
    versions.procedure_code as source_procedure_code,
    -- A local suffix follows the first two parts: 1.001193.000.00.00.H29.
    coalesce(substring(versions.procedure_code from '^[^.]+\.[^.]+'), versions.procedure_code) as procedure_code,
    channel.target_code as channel_code,
    status.target_code as status_code,
    versions.received_at,
    coalesce(versions.received_at_is_date, false) as received_at_is_date,
    versions.due_at,
    coalesce(versions.due_at_is_date, false) as due_at_is_date,
    versions.returned_at,
    coalesce(versions.returned_at_is_date, false) as returned_at_is_date,
    versions.finished_at,
    coalesce(versions.finished_at_is_date, false) as finished_at_is_date,
    resolving.target_code as resolving_unit_code,
    receiving.target_code as receiving_unit_code,
    coalesce(versions.is_interlinked, false) as is_interlinked,
    coalesce(versions.is_dummy_identity, false) as is_dummy_identity,
    coalesce(versions.is_test_record, false) as is_test_record,
    versions.updated_at,
    versions.supplements
from versions
left join code as channel
    on channel.code_kind = 'channel' and versions.channel_code = channel.source_code
left join code as status
    on status.code_kind = 'dossier_status' and versions.status_code = status.source_code
left join code as resolving
    on resolving.code_kind = 'unit' and versions.resolving_unit_source_code = resolving.source_code
left join code as receiving
    on receiving.code_kind = 'unit' and versions.receiving_unit_source_code = receiving.source_code
