-- Grain: one row per dossier of which the city's system and the national portal do not say the same, or only one has it.
{{ config(
    unique_key='dossier_code',
    scope="held.dossier_code in (" ~ touched_records(['dossier', 'dossier_sync']) ~ ")",
    looks_up=true,
) }}

with city as (
    select * from {{ ref('core_dossier') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records(['dossier', 'dossier_sync']) }})
    {%- endif %}
),

portal as (
    select * from {{ ref('core_dossier_sync') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records(['dossier', 'dossier_sync']) }})
    {%- endif %}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

-- Nothing is compared before both were read.
reads as (
    select 1 as both_read
    from batches
    having
        count(window_end) filter (where feed = 'dossier') > 0
        and count(window_end) filter (where feed = 'dossier_sync') > 0
),

compared as (
    select
        city.dossier_code as city_code,
        portal.dossier_code as portal_code,
        city.resolving_unit_code as city_unit_code,
        portal.resolving_unit_code as portal_unit_code,
        city.received_on as city_received_on,
        portal.received_on as portal_received_on,
        city.status_code as city_status_code,
        portal.status_code as portal_status_code,
        city.updated_at as city_updated_at,
        portal.updated_at as portal_updated_at,
        -- What a dossier is known by when its code was replaced; a receipt known by the day is too little for that.
        case
            when city.dossier_code is not null and portal.dossier_code is not null then null
            when coalesce(city.received_at_is_date, portal.received_at_is_date) then null
            when
                {{ local_time('coalesce(city.received_at, portal.received_at)') }}
                = date_trunc('day', {{ local_time('coalesce(city.received_at, portal.received_at)') }})
                then null
            else
                coalesce(city.procedure_code, portal.procedure_code)
                || '|' || coalesce(city.resolving_unit_code, portal.resolving_unit_code)
                || '|' || coalesce(city.received_at, portal.received_at)::text
        end as likeness
    from city
    full join portal on city.dossier_code = portal.dossier_code
    where
        city.dossier_code is null
        or portal.dossier_code is null
        or (city.resolving_unit_code, city.received_on, city.status_code)
        is distinct from (portal.resolving_unit_code, portal.received_on, portal.status_code)
)

select
    coalesce(compared.city_code, compared.portal_code)::text as dossier_code,
    compared.city_code::text as city_code,
    compared.portal_code::text as portal_code,
    compared.city_unit_code::text as city_unit_code,
    compared.portal_unit_code::text as portal_unit_code,
    compared.city_received_on::date as city_received_on,
    compared.portal_received_on::date as portal_received_on,
    compared.city_status_code::text as city_status_code,
    compared.portal_status_code::text as portal_status_code,
    compared.city_updated_at::timestamptz as city_updated_at,
    compared.portal_updated_at::timestamptz as portal_updated_at,
    compared.likeness::text as likeness
from compared
cross join reads
