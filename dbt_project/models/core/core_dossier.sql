-- Grain: one row per dossier in force, with the due dates that its history shows.
{{ config(
    unique_key='dossier_code',
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
    indexes=[{'columns': ['received_on', 'resolving_unit_code']}, {'columns': ['is_stale']}],
    post_hook="{{ note_cells([['receipt', 'resolving_unit_code', 'received_on']]) }}",
) }}

-- Of all dossiers at once this is one join of two big tables, which a server makes on all its cores as long as no CTE is kept.
with histories as not materialized (
    select * from {{ ref('core_dossier_history') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_records('dossier') }})
    {%- endif %}
),

versions as not materialized (
    select * from {{ ref('stg_tthc__dossier_version') }}
),

units as not materialized (
    select * from {{ ref('dim_unit') }}
),

quarantined as (
    select * from {{ ref('stg_ops__quarantine') }}
    where feed = 'dossier'
),

statuses as not materialized (
    select * from {{ ref('dossier_status') }}
),

codes as (
    select * from {{ ref('stg_register__code') }}
    where system = 'tthc' and code_kind = 'dossier_status'
),

done as (
    select array_agg(codes.source_code) as source_codes
    from codes
    inner join statuses on codes.target_code = statuses.status_code
    where statuses.is_done
),

dossiers as not materialized (
    select
        versions.*,
        histories.first_batch_id,
        histories.first_result_batch_id,
        histories.first_due_at,
        histories.first_due_at_is_date,
        histories.restart_due_at,
        histories.restart_due_at_is_date,
        -- Some software adds a step "done" to dossiers that wait or were stopped, so that another system takes them.
        case
            when statuses.is_interrupted
                then versions.step_source_codes ?| done.source_codes
        end as has_inserted_step
    from histories
    inner join versions
        -- None is newer than the newest. Asked for equal batches, the planner would expect one dossier in two hundred.
        on histories.record_key = versions.record_key and histories.batch_id <= versions.batch_id
    left join statuses on versions.status_code = statuses.status_code
    cross join done
    where versions.op = 'upsert'
)

select
    dossiers.dossier_code::text as dossier_code,
    dossiers.batch_id::bigint as batch_id,
    dossiers.first_batch_id::bigint as first_batch_id,
    dossiers.first_result_batch_id::bigint as first_result_batch_id,
    dossiers.procedure_code::text as procedure_code,
    dossiers.channel_code::text as channel_code,
    dossiers.status_code::text as status_code,
    dossiers.received_at::timestamptz as received_at,
    dossiers.received_at_is_date::boolean as received_at_is_date,
    {{ local_date('dossiers.received_at') }} as received_on,
    coalesce(dossiers.finished_at, dossiers.returned_at)::timestamptz as result_at,
    case
        when dossiers.finished_at is not null then dossiers.finished_at_is_date
        when dossiers.returned_at is not null then dossiers.returned_at_is_date
    end::boolean as result_at_is_date,
    {{ local_date('coalesce(dossiers.finished_at, dossiers.returned_at)') }} as result_on,
    case
        when dossiers.finished_at is not null then 'finished'
        when dossiers.returned_at is not null then 'handed_over'
    end::text as result_moment_basis,
    dossiers.due_at::timestamptz as source_due_at,
    dossiers.due_at_is_date::boolean as source_due_at_is_date,
    dossiers.first_due_at::timestamptz as first_due_at,
    dossiers.first_due_at_is_date::boolean as first_due_at_is_date,
    dossiers.restart_due_at::timestamptz as restart_due_at,
    dossiers.restart_due_at_is_date::boolean as restart_due_at_is_date,
    resolving.unit_code::text as resolving_unit_code,
    receiving.unit_code::text as receiving_unit_code,
    dossiers.is_interlinked::boolean as is_interlinked,
    dossiers.is_dummy_identity::boolean as is_dummy_identity,
    dossiers.is_test_record::boolean as is_test_record,
    coalesce(dossiers.has_inserted_step, false)::boolean as has_inserted_step,
    -- A newer version could not be read: this one is known to be out of date.
    coalesce(quarantined.batch_id > dossiers.batch_id, false)::boolean as is_stale,
    dossiers.updated_at::timestamptz as updated_at
from dossiers
left join quarantined on dossiers.record_key = quarantined.record_key
left join units as resolving on dossiers.resolving_unit_code = resolving.unit_code
left join units as receiving on dossiers.receiving_unit_code = receiving.unit_code
{{ written_by('received_on') }}
