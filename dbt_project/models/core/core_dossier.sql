-- Grain: one row per dossier in force, with the due dates that its history shows.
{{ config(
    unique_key='dossier_code',
    indexes=[{'columns': ['resolving_unit_code', 'result_on']}],
) }}

with dossiers as (
    select * from {{ ref('stg_tthc__dossier') }}
),

versions as (
    select * from {{ ref('stg_tthc__dossier_version') }}
),

supplement_versions as (
    select * from {{ ref('stg_tthc__supplement_version') }}
),

supplement_statuses as (
    select * from {{ ref('supplement_status') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

quarantined as (
    select * from {{ ref('stg_ops__quarantine') }}
    where feed = 'dossier'
),

steps as (
    select * from {{ ref('stg_tthc__dossier_step') }}
),

statuses as (
    select * from {{ ref('dossier_status') }}
),

-- Some software adds a step "done" to dossiers that wait or were stopped, so that another system takes them.
done_steps as (
    select distinct steps.record_key
    from steps
    inner join statuses as held on steps.dossier_status_code = held.status_code
    inner join statuses as led_to on steps.status_code = led_to.status_code
    where held.is_interrupted and led_to.is_done
),

first_due_version as (
    select distinct on (record_key)
        record_key,
        batch_id,
        due_at,
        due_at_is_date
    from versions
    where op = 'upsert' and due_at is not null
    order by record_key, batch_id
),

-- What that version's supplement requests say the due date was before them: the earliest that says so.
earliest_supplement as (
    select distinct on (supplement_versions.record_key)
        supplement_versions.record_key,
        supplement_versions.due_before_at,
        supplement_versions.due_before_at_is_date
    from supplement_versions
    inner join first_due_version
        on
            supplement_versions.record_key = first_due_version.record_key
            and supplement_versions.batch_id = first_due_version.batch_id
    where supplement_versions.due_before_at is not null
    order by
        supplement_versions.record_key,
        supplement_versions.requested_at,
        supplement_versions.supplement_id collate "C" -- noqa: RF02
),

first_due as (
    select
        first_due_version.record_key,
        coalesce(earliest_supplement.due_before_at, first_due_version.due_at) as due_at,
        case
            when earliest_supplement.due_before_at is null then first_due_version.due_at_is_date
            else earliest_supplement.due_before_at_is_date
        end as due_at_is_date
    from first_due_version
    left join earliest_supplement on first_due_version.record_key = earliest_supplement.record_key
),

-- The term starts again when what was asked for came in full (Decree 61/2018).
restart_due as (
    select distinct on (dossiers.record_key)
        dossiers.record_key,
        supplement_versions.due_after_at as due_at,
        supplement_versions.due_after_at_is_date as due_at_is_date
    from dossiers
    inner join supplement_versions
        on
            dossiers.record_key = supplement_versions.record_key
            and dossiers.batch_id = supplement_versions.batch_id
    inner join supplement_statuses on supplement_versions.status_code = supplement_statuses.status_code
    where
        supplement_statuses.restarts_term
        and supplement_versions.received_at is not null
        and supplement_versions.due_after_at is not null
    order by
        dossiers.record_key,
        supplement_versions.received_at desc,
        supplement_versions.supplement_id collate "C" desc -- noqa: RF02
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
    first_due.due_at::timestamptz as first_due_at,
    first_due.due_at_is_date::boolean as first_due_at_is_date,
    restart_due.due_at::timestamptz as restart_due_at,
    restart_due.due_at_is_date::boolean as restart_due_at_is_date,
    resolving.unit_code::text as resolving_unit_code,
    receiving.unit_code::text as receiving_unit_code,
    dossiers.is_interlinked::boolean as is_interlinked,
    dossiers.is_dummy_identity::boolean as is_dummy_identity,
    dossiers.is_test_record::boolean as is_test_record,
    (done_steps.record_key is not null)::boolean as has_inserted_step,
    -- A newer version could not be read: this one is known to be out of date.
    coalesce(quarantined.batch_id > dossiers.batch_id, false)::boolean as is_stale,
    dossiers.updated_at::timestamptz as updated_at
from dossiers
left join first_due on dossiers.record_key = first_due.record_key
left join restart_due on dossiers.record_key = restart_due.record_key
left join done_steps on dossiers.record_key = done_steps.record_key
left join quarantined on dossiers.record_key = quarantined.record_key
left join units as resolving on dossiers.resolving_unit_code = resolving.unit_code
left join units as receiving on dossiers.receiving_unit_code = receiving.unit_code
