-- Grain: one row per dossier that any version told of: the versions that tell its story, and the due dates that they show.
{{ config(
    unique_key='record_key',
    scope="held.record_key in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
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

-- Most due dates never moved. Those that did are looked up one by one in the first version that had one.
earlier_due as (
    select
        histories.record_key,
        first_told.due_at,
        first_told.due_at_is_date
    from histories
    inner join lateral (
        select
            every_version.due_at,
            every_version.due_at_is_date
        from every_version
        where
            every_version.record_key = histories.record_key
            and every_version.batch_id = histories.first_due_batch_id
        offset 0
    ) as first_told on true
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
)

select
    histories.record_key::text as record_key,
    histories.batch_id::bigint as batch_id,
    histories.first_batch_id::bigint as first_batch_id,
    histories.first_result_batch_id::bigint as first_result_batch_id,
    case
        when earliest_supplement.record_key is not null then earliest_supplement.due_before_at
        when earlier_due.record_key is not null then earlier_due.due_at
        else histories.least_due_at
    end::timestamptz as first_due_at,
    case
        when earliest_supplement.record_key is not null then earliest_supplement.due_before_at_is_date
        when earlier_due.record_key is not null then earlier_due.due_at_is_date
        else histories.is_always_due_date
    end::boolean as first_due_at_is_date,
    restart_due.due_at::timestamptz as restart_due_at,
    restart_due.due_at_is_date::boolean as restart_due_at_is_date
from histories
left join earliest_supplement on histories.record_key = earliest_supplement.record_key
left join earlier_due on histories.record_key = earlier_due.record_key
left join restart_due on histories.record_key = restart_due.record_key
{{ written_by('histories.batch_id') }}
