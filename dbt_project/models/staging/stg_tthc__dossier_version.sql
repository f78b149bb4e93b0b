-- Every version of every dossier that the build may see, codes mapped to ours.
select
    versions.record_key,
    versions.batch_id,
    versions.op,
    versions.dossier_code,
    versions.procedure_code as source_procedure_code,
    -- A local suffix follows the first two parts: 1.001193.000.00.00.H29.
    coalesce(substring(versions.procedure_code from '^[^.]+\.[^.]+'), versions.procedure_code) as procedure_code,
    {{ target_of('tthc', 'channel', 'versions.channel_code') }} as channel_code,
    {{ target_of('tthc', 'dossier_status', 'versions.status_code') }} as status_code,
    versions.received_at,
    coalesce(versions.received_at_is_date, false) as received_at_is_date,
    versions.due_at,
    coalesce(versions.due_at_is_date, false) as due_at_is_date,
    versions.returned_at,
    coalesce(versions.returned_at_is_date, false) as returned_at_is_date,
    versions.finished_at,
    coalesce(versions.finished_at_is_date, false) as finished_at_is_date,
    {{ target_of('tthc', 'unit', 'versions.resolving_unit_source_code') }} as resolving_unit_code,
    {{ target_of('tthc', 'unit', 'versions.receiving_unit_source_code') }} as receiving_unit_code,
    coalesce(versions.is_interlinked, false) as is_interlinked,
    coalesce(versions.is_dummy_identity, false) as is_dummy_identity,
    coalesce(versions.is_test_record, false) as is_test_record,
    versions.updated_at,
    -- What the steps led to, in the source's own codes: mapped here, every version would have to be.
    jsonb_path_query_array(versions.steps, '$[*].status_code') as step_source_codes
from {{ source('raw', 'dossier') }} as versions
where {{ as_of('dossier', 'versions') }}
