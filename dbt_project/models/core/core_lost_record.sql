-- Grain: one row per feed and key of a dossier without a version in force: deleted at the source, or never readable.
{{ config(
    unique_key=['feed', 'record_key'],
    scope="(held.feed, held.record_key) in (" ~ touched_keys() ~ ")",
    looks_up=true,
) }}

with quarantined as (
    select * from {{ ref('stg_ops__quarantine') }}
    where
        feed in ('dossier', 'dossier_sync')
        {%- if is_increment() %}
        and (feed, record_key) in ({{ touched_keys() }})
        {%- endif %}
),

city as (
    select * from {{ ref('core_dossier') }}
),

portal as (
    select * from {{ ref('core_dossier_sync') }}
),

lost as (
    select
        'dossier' as feed,
        record_key,
        batch_id,
        'deleted' as reason
    from {{ ref('stg_tthc__dossier_deletion') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_records('dossier') }})
    {%- endif %}
    union all
    select
        'dossier_sync' as feed,
        record_key,
        batch_id,
        'deleted' as reason
    from {{ ref('stg_portal__dossier_sync_deletion') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_records('dossier_sync') }})
    {%- endif %}
    union all
    select
        quarantined.feed,
        quarantined.record_key,
        quarantined.batch_id,
        'quarantined' as reason
    from quarantined
    left join city on quarantined.feed = 'dossier' and quarantined.record_key = city.dossier_code
    left join portal on quarantined.feed = 'dossier_sync' and quarantined.record_key = portal.dossier_code
    where city.dossier_code is null and portal.dossier_code is null
),

-- Deleted, and later something unreadable came: what happened last.
newest as (
    select distinct on (feed, record_key) *
    from lost
    order by feed, record_key, batch_id desc
)

select
    feed::text as feed,
    record_key::text as record_key,
    reason::text as reason,
    batch_id::bigint as batch_id
from newest
