with unit_code as (
    select
        code.source_code,
        unit.unit_code
    from by_hand_scratch.code
    inner join by_hand_core.dim_unit as unit on code.target_code = unit.unit_code
    where code.system = 'tthc' and code.code_kind = 'unit'
)

select
    told.dossier_code,
    told.batch_id,
    told.first_batch_id,
    told.first_result_batch_id,
    coalesce(substring(told.procedure_code from '^[^.]+\.[^.]+'), told.procedure_code) as procedure_code,
    channel.target_code as channel_code,
    status.target_code as status_code,
    told.received_at,
    coalesce(told.received_at_is_date, false) as received_at_is_date,
    (told.received_at at time zone 'Asia/Ho_Chi_Minh')::date as received_on,
    told.result_at,
    told.result_at_is_date,
    (told.result_at at time zone 'Asia/Ho_Chi_Minh')::date as result_on,
    told.result_moment_basis,
    told.due_at as source_due_at,
    coalesce(told.due_at_is_date, false) as source_due_at_is_date,
    told.first_due_at,
    told.first_due_at_is_date,
    told.restart_due_at,
    told.restart_due_at_is_date,
    resolving.unit_code as resolving_unit_code,
    receiving.unit_code as receiving_unit_code,
    coalesce(told.is_interlinked, false) as is_interlinked,
    coalesce(told.is_dummy_identity, false) as is_dummy_identity,
    coalesce(told.is_test_record, false) as is_test_record,
    told.has_inserted_step,
    coalesce(quarantined.batch_id > told.batch_id, false) as is_stale,
    told.updated_at
from by_hand_scratch.newest as told
left join unit_code as resolving on told.resolving_unit_source_code = resolving.source_code
left join unit_code as receiving on told.receiving_unit_source_code = receiving.source_code
left join by_hand_scratch.code as channel
    on channel.system = 'tthc' and channel.code_kind = 'channel' and told.channel_code = channel.source_code
left join by_hand_scratch.code as status
    on status.system = 'tthc' and status.code_kind = 'dossier_status' and told.status_code = status.source_code
left join by_hand_staging.stg_ops__quarantine as quarantined
    on quarantined.feed = 'dossier' and told.record_key = quarantined.record_key
where told.op = 'upsert'
