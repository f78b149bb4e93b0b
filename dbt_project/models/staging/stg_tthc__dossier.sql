-- The version in force of every dossier that was not deleted.
with versions as (
    select * from {{ ref('stg_tthc__dossier_version') }}
    where {{ as_of() }}
),

newest as (
    select distinct on (record_key) *
    from versions
    order by record_key, batch_id desc
)

select
    record_key,
    batch_id,
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
    is_dummy_identity,
    is_test_record
from newest
where op = 'upsert'
