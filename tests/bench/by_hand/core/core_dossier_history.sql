-- All versions aggregated once; what they say of due dates is looked up for those dossiers alone where it is not plain from that.
with version as materialized (
    select
        record_key,
        max(batch_id) as batch_id,
        min(batch_id) as first_batch_id,
        min(batch_id) filter (where finished_at is not null or returned_at is not null) as first_result_batch_id,
        min(batch_id) filter (where op = 'upsert' and due_at is not null) as first_due_batch_id,
        min(batch_id) filter (where supplements <> '[]') as first_asked_batch_id,
        max(batch_id) filter (where supplements <> '[]') as last_asked_batch_id,
        min(due_at) filter (where op = 'upsert') as least_due_at,
        max(due_at) filter (where op = 'upsert') as greatest_due_at,
        bool_and(coalesce(due_at_is_date, false)) filter (where op = 'upsert' and due_at is not null) as is_due_date,
        bool_or(coalesce(due_at_is_date, false)) filter (where op = 'upsert' and due_at is not null) as is_once_due_date
    from raw.dossier
    group by record_key
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
        version.*,
        -- The term starts again when what was asked for came in full (Decree 61/2018).
        case
            when version.last_asked_batch_id = version.batch_id
                then (
                    select
                        array[
                            (item.content ->> 'due_after_at')::timestamptz,
                            case when (item.content ->> 'due_after_at_is_date')::boolean then 'epoch'::timestamptz end
                        ]
                    from raw.dossier as n
                    cross join lateral jsonb_array_elements(
                        case when n.op = 'upsert' and jsonb_typeof(n.supplements) = 'array' then n.supplements end
                    ) as item (content)
                    where
                        n.record_key = version.record_key and n.batch_id = version.batch_id
                        and item.content ->> 'status_code' = any((select meaning.restarts from meaning)::text[])
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
            when
                version.least_due_at = version.greatest_due_at
                and version.is_due_date = version.is_once_due_date
                and version.first_due_batch_id < coalesce(version.first_asked_batch_id, version.first_due_batch_id + 1)
                then array[version.least_due_at, case when version.is_due_date then 'epoch'::timestamptz end]
            when version.first_due_batch_id is not null
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
                    where f.record_key = version.record_key and f.batch_id = version.first_due_batch_id
                )
        end as first_due
    from version
    offset 0
)

select
    record_key,
    batch_id,
    first_batch_id,
    first_result_batch_id,
    first_due[1] as first_due_at,
    case when first_due is not null then first_due[2] is not null end as first_due_at_is_date,
    restarted[1] as restart_due_at,
    case when restarted is not null then restarted[2] is not null end as restart_due_at_is_date
from told
