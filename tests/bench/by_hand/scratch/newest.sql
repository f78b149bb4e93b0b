-- Each dossier's newest version, beside it what all its versions say: raw is joined once for all that is made of dossiers in force.
-- Lists are kept where there is something in them.
with meaning as (
    select
        array_agg(code.source_code) filter (where status.is_interrupted) as interrupted,
        array_agg(code.source_code) filter (where status.is_done) as done
    from by_hand_scratch.code
    inner join rules.dossier_status as status on code.target_code = status.status_code
    where code.system = 'tthc' and code.code_kind = 'dossier_status'
)

select
    version.first_batch_id,
    version.first_result_batch_id,
    version.first_due_at,
    version.first_due_at_is_date,
    version.restart_due_at,
    version.restart_due_at_is_date,
    n.record_key,
    n.batch_id,
    n.op,
    n.dossier_code,
    n.procedure_code,
    n.channel_code,
    n.status_code,
    n.received_at,
    n.received_at_is_date,
    n.due_at,
    n.due_at_is_date,
    coalesce(n.finished_at, n.returned_at) as result_at,
    case
        when n.finished_at is not null then coalesce(n.finished_at_is_date, false)
        when n.returned_at is not null then coalesce(n.returned_at_is_date, false)
    end as result_at_is_date,
    case when n.finished_at is not null then 'finished' when n.returned_at is not null then 'handed_over' end
        as result_moment_basis,
    n.resolving_unit_source_code,
    n.receiving_unit_source_code,
    n.official,
    n.is_interlinked,
    n.is_dummy_identity,
    n.is_test_record,
    n.updated_at,
    case when jsonb_typeof(n.supplements) = 'array' and n.supplements <> '[]' then n.supplements end as supplements,
    case
        when n.is_interlinked and jsonb_typeof(n.participants) = 'array' and n.participants <> '[]' then n.participants
    end as participants,
    -- Some software adds a step "done" to dossiers that wait or were stopped, so that another system takes them.
    case
        when n.status_code = any((select meaning.interrupted from meaning)::text[]) and jsonb_typeof(n.steps) = 'array'
            then exists (
                select from jsonb_array_elements(n.steps) as item (content)
                where item.content ->> 'status_code' = any((select meaning.done from meaning)::text[])
            )
        else false
    end as has_inserted_step
from by_hand_core.core_dossier_history as version
inner join raw.dossier as n on version.record_key = n.record_key and version.batch_id = n.batch_id
