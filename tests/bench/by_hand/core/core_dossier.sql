with unit_code as (
    select
        code.source_code,
        unit.unit_code
    from by_hand_scratch.code
    inner join by_hand_core.dim_unit as unit on code.target_code = unit.unit_code
    where code.system = 'tthc' and code.code_kind = 'unit'
),

meaning as (
    select array_agg(code.source_code) as restarts
    from by_hand_scratch.code
    inner join rules.supplement_status as status on code.target_code = status.status_code
    where code.system = 'tthc' and code.code_kind = 'supplement_status' and status.restarts_term
),

-- Due dates as {moment, anything when it is a date only}.
told as (
    select
        n.*,
        -- The term starts again when what was asked for came in full (Decree 61/2018).
        case
            when n.supplements is not null
                then (
                    select
                        array[
                            (item.content ->> 'due_after_at')::timestamptz,
                            case when (item.content ->> 'due_after_at_is_date')::boolean then 'epoch'::timestamptz end
                        ]
                    from jsonb_array_elements(n.supplements) as item (content)
                    where
                        item.content ->> 'status_code' = any((select meaning.restarts from meaning)::text[])
                        and item.content ->> 'received_at' is not null
                        and item.content ->> 'due_after_at' is not null
                    order by
                        (item.content ->> 'received_at')::timestamptz desc,
                        item.content ->> 'supplement_id' collate "C" desc
                    limit 1
                )
        end as restarted,
        -- What the first version with a due date says it was before anything was asked for, else that version's own.
        case
            when n.has_one_due_date
                then array[n.least_due_at, case when n.is_due_date then 'epoch'::timestamptz end]
            when n.first_due_batch_id is not null
                then (
                    select
                        coalesce(
                            case
                                when jsonb_typeof(f.supplements) = 'array'
                                    then (
                                        select
                                            array[
                                                (item.content ->> 'due_before_at')::timestamptz,
                                                case
                                                    when (item.content ->> 'due_before_at_is_date')::boolean
                                                        then 'epoch'::timestamptz
                                                end
                                            ]
                                        from jsonb_array_elements(f.supplements) as item (content)
                                        where item.content ->> 'due_before_at' is not null
                                        order by
                                            (item.content ->> 'requested_at')::timestamptz,
                                            item.content ->> 'supplement_id' collate "C"
                                        limit 1
                                    )
                            end,
                            array[f.due_at, case when f.due_at_is_date then 'epoch'::timestamptz end]
                        )
                    from raw.dossier as f
                    where f.record_key = n.record_key and f.batch_id = n.first_due_batch_id
                )
        end as first_due
    from by_hand_scratch.newest as n
    where n.op = 'upsert'
    offset 0
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
    told.first_due[1] as first_due_at,
    case when told.first_due is not null then told.first_due[2] is not null end as first_due_at_is_date,
    told.restarted[1] as restart_due_at,
    case when told.restarted is not null then told.restarted[2] is not null end as restart_due_at_is_date,
    resolving.unit_code as resolving_unit_code,
    receiving.unit_code as receiving_unit_code,
    coalesce(told.is_interlinked, false) as is_interlinked,
    coalesce(told.is_dummy_identity, false) as is_dummy_identity,
    coalesce(told.is_test_record, false) as is_test_record,
    told.has_inserted_step,
    coalesce(quarantined.batch_id > told.batch_id, false) as is_stale,
    told.updated_at
from told
left join unit_code as resolving on told.resolving_unit_source_code = resolving.source_code
left join unit_code as receiving on told.receiving_unit_source_code = receiving.source_code
left join by_hand_scratch.code as channel
    on channel.system = 'tthc' and channel.code_kind = 'channel' and told.channel_code = channel.source_code
left join by_hand_scratch.code as status
    on status.system = 'tthc' and status.code_kind = 'dossier_status' and told.status_code = status.source_code
left join by_hand_staging.stg_ops__quarantine as quarantined
    on quarantined.feed = 'dossier' and told.record_key = quarantined.record_key
