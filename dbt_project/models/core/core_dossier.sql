-- Grain: one row per dossier in force, with the due dates that its history shows.
{{ config(
    unique_key='dossier_code',
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
    indexes=[{'columns': ['received_on', 'resolving_unit_code']}],
    post_hook="{{ note_cells([['receipt', 'resolving_unit_code', 'received_on']]) }}",
) }}

with versions as not materialized (
    select * from {{ ref('stg_tthc__dossier_version') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_records('dossier') }})
    {%- endif %}
),

-- Single ones are found by dossier and batch; a CTE of those that were touched would be gone through for each.
every_version as not materialized (
    select * from {{ ref('stg_tthc__dossier_version') }}
),

supplement_versions as materialized (
    select * from {{ ref('stg_tthc__supplement_version') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_records('dossier') }})
    {%- endif %}
),

supplement_statuses as (
    select * from {{ ref('supplement_status') }}
),

units as not materialized (
    select * from {{ ref('dim_unit') }}
),

quarantined as (
    select * from {{ ref('stg_ops__quarantine') }}
    where feed = 'dossier'
),

statuses as (
    select * from {{ ref('dossier_status') }}
),

-- The batches that tell a dossier's story: the newest, the first, the first with a result, the first with a due date.
histories as (
    select
        record_key,
        max(batch_id) as batch_id,
        min(batch_id) as first_batch_id,
        min(batch_id) filter (where finished_at is not null or returned_at is not null) as first_result_batch_id,
        min(batch_id) filter (where op = 'upsert' and due_at is not null) as first_due_batch_id,
        min(due_at) filter (where op = 'upsert') as least_due_at,
        max(due_at) filter (where op = 'upsert') as greatest_due_at,
        bool_and(due_at_is_date) filter (where op = 'upsert' and due_at is not null) as is_always_due_date,
        bool_or(due_at_is_date) filter (where op = 'upsert' and due_at is not null) as is_once_due_date
    from versions
    group by record_key
),

-- What the first version with a due date says it was before its supplement requests: the earliest that says so.
earliest_supplement as (
    select distinct on (supplement_versions.record_key)
        supplement_versions.record_key,
        supplement_versions.due_before_at,
        supplement_versions.due_before_at_is_date
    from histories
    inner join supplement_versions
        on
            histories.record_key = supplement_versions.record_key
            and histories.first_due_batch_id = supplement_versions.batch_id
    where supplement_versions.due_before_at is not null
    order by
        supplement_versions.record_key,
        supplement_versions.requested_at,
        supplement_versions.supplement_id collate "C", -- noqa: RF02
        supplement_versions.due_before_at, -- a request may be told twice, and not alike
        supplement_versions.due_before_at_is_date
),

-- Most due dates never moved. Those that did are looked up in the first version that had one.
earlier_due as (
    select
        every_version.record_key,
        every_version.due_at,
        every_version.due_at_is_date
    from histories
    inner join every_version
        on
            histories.record_key = every_version.record_key
            and histories.first_due_batch_id = every_version.batch_id
    where
        histories.first_due_batch_id < histories.batch_id
        and (
            histories.least_due_at < histories.greatest_due_at
            or histories.is_always_due_date <> histories.is_once_due_date
        )
),

-- The term starts again when what was asked for came in full (Decree 61/2018).
restart_due as (
    select distinct on (supplement_versions.record_key)
        supplement_versions.record_key,
        supplement_versions.due_after_at as due_at,
        supplement_versions.due_after_at_is_date as due_at_is_date
    from histories
    inner join supplement_versions
        on histories.record_key = supplement_versions.record_key and histories.batch_id = supplement_versions.batch_id
    inner join supplement_statuses on supplement_versions.status_code = supplement_statuses.status_code
    where
        supplement_statuses.restarts_term
        and supplement_versions.received_at is not null
        and supplement_versions.due_after_at is not null
    order by
        supplement_versions.record_key,
        supplement_versions.received_at desc,
        supplement_versions.supplement_id collate "C" desc, -- noqa: RF02
        supplement_versions.due_after_at desc,
        supplement_versions.due_after_at_is_date
),

done as (
    select array_agg(status_code) as status_codes
    from statuses
    where is_done
),

dossiers as (
    select
        every_version.*,
        histories.first_batch_id,
        histories.first_result_batch_id,
        histories.least_due_at,
        histories.is_always_due_date,
        -- Some software adds a step "done" to dossiers that wait or were stopped, so that another system takes them.
        case
            when statuses.is_interrupted
                then string_to_array(every_version.step_status_codes, ',') && done.status_codes
        end as has_inserted_step
    from histories
    inner join every_version
        on histories.record_key = every_version.record_key and histories.batch_id = every_version.batch_id
    left join statuses on every_version.status_code = statuses.status_code
    cross join done
    where every_version.op = 'upsert'
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
    case
        when earliest_supplement.record_key is not null then earliest_supplement.due_before_at
        when earlier_due.record_key is not null then earlier_due.due_at
        else dossiers.least_due_at
    end::timestamptz as first_due_at,
    case
        when earliest_supplement.record_key is not null then earliest_supplement.due_before_at_is_date
        when earlier_due.record_key is not null then earlier_due.due_at_is_date
        else dossiers.is_always_due_date
    end::boolean as first_due_at_is_date,
    restart_due.due_at::timestamptz as restart_due_at,
    restart_due.due_at_is_date::boolean as restart_due_at_is_date,
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
left join earliest_supplement on dossiers.record_key = earliest_supplement.record_key
left join earlier_due on dossiers.record_key = earlier_due.record_key
left join restart_due on dossiers.record_key = restart_due.record_key
left join quarantined on dossiers.record_key = quarantined.record_key
left join units as resolving on dossiers.resolving_unit_code = resolving.unit_code
left join units as receiving on dossiers.receiving_unit_code = receiving.unit_code
