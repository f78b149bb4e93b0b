-- Grain: one row per dossier of the national portal's copy in force.
{{ config(
    unique_key='dossier_code',
    scope="held.dossier_code in (" ~ touched_records('dossier_sync') ~ ")",
    looks_up=true,
    indexes=[{'columns': ['received_on', 'resolving_unit_code']}],
    post_hook="{{ note_cells([['receipt', 'resolving_unit_code', 'received_on']]) }}",
) }}

with versions as not materialized (
    select * from {{ ref('stg_portal__dossier_sync_version') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_records('dossier_sync') }})
    {%- endif %}
),

newest as (
    select
        record_key,
        max(batch_id) as batch_id
    from versions
    group by record_key
),

copies as (
    select versions.*
    from newest
    inner join versions on newest.record_key = versions.record_key and newest.batch_id = versions.batch_id
    where versions.op = 'upsert'
),

units as (
    select * from {{ ref('dim_unit') }}
),

quarantined as (
    select * from {{ ref('stg_ops__quarantine') }}
    where feed = 'dossier_sync'
)

select
    copies.dossier_code::text as dossier_code,
    copies.batch_id::bigint as batch_id,
    copies.procedure_code::text as procedure_code,
    copies.channel_code::text as channel_code,
    copies.status_code::text as status_code,
    copies.received_at::timestamptz as received_at,
    copies.received_at_is_date::boolean as received_at_is_date,
    {{ local_date('copies.received_at') }} as received_on,
    copies.due_at::timestamptz as due_at,
    copies.due_at_is_date::boolean as due_at_is_date,
    coalesce(copies.finished_at, copies.returned_at)::timestamptz as result_at,
    case
        when copies.finished_at is not null then copies.finished_at_is_date
        when copies.returned_at is not null then copies.returned_at_is_date
    end::boolean as result_at_is_date,
    {{ local_date('coalesce(copies.finished_at, copies.returned_at)') }} as result_on,
    resolving.unit_code::text as resolving_unit_code,
    receiving.unit_code::text as receiving_unit_code,
    copies.timeliness_code::text as timeliness_code,
    coalesce(quarantined.batch_id > copies.batch_id, false)::boolean as is_stale,
    copies.updated_at::timestamptz as updated_at
from copies
left join units as resolving on copies.resolving_unit_code = resolving.unit_code
left join units as receiving on copies.receiving_unit_code = receiving.unit_code
left join quarantined on copies.record_key = quarantined.record_key
