-- The version in force of every dossier that was not deleted, and the batches that first told of it and of its result.
with versions as (
    select * from {{ ref('stg_tthc__dossier_version') }}
    where {{ as_of() }}
),

newest as (
    select distinct on (record_key)
        *,
        min(batch_id) over history as first_batch_id,
        min(batch_id) filter (where finished_at is not null or returned_at is not null) over history
            as first_result_batch_id
    from versions
    window history as (partition by record_key)
    order by record_key, batch_id desc
)

select
    record_key,
    batch_id,
    first_batch_id,
    first_result_batch_id,
    dossier_code,
    source_procedure_code,
    procedure_code,
    channel_code,
    status_code,
    received_at,
    received_at_is_date,
    due_at,
    due_at_is_date,
    returned_at,
    returned_at_is_date,
    finished_at,
    finished_at_is_date,
    resolving_unit_code,
    receiving_unit_code,
    is_interlinked,
    is_dummy_identity,
    is_test_record,
    updated_at
from newest
where op = 'upsert'
