-- Grain: one row per feed and key whose newest version could not be read: what is in force is out of date.
{{ config(alias='stale_record', unique_key=['feed', 'record_key']) }}

with stale as (
    select
        'dossier' as feed,
        dossier_code as record_key,
        resolving_unit_code as unit_code,
        coalesce(result_on, received_on) as event_on,
        batch_id
    from {{ ref('core_dossier') }}
    where is_stale
    union all
    select
        'dossier_sync' as feed,
        dossier_code as record_key,
        resolving_unit_code as unit_code,
        coalesce(result_on, received_on) as event_on,
        batch_id
    from {{ ref('core_dossier_sync') }}
    where is_stale
    union all
    select
        'rating' as feed,
        rating_id as record_key,
        unit_code,
        rated_on as event_on,
        batch_id
    from {{ ref('core_rating') }}
    where is_stale
    union all
    select
        'petition' as feed,
        petition_id as record_key,
        unit_code,
        received_on as event_on,
        batch_id
    from {{ ref('core_petition') }}
    where is_stale
)

select
    feed::text as feed,
    record_key::text as record_key,
    unit_code::text as unit_code,
    event_on::date as event_on,
    batch_id::bigint as batch_id
from stale
