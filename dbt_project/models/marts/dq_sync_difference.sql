-- Grain: one row per dossier on which the city's system and the national portal differ, or that only one of them has.
{{ config(
    alias='sync_difference',
    unique_key='pair_code',
    post_hook="{{ note_cells([
        ['receipt', 'city_unit_code', 'city_received_on'],
        ['receipt', 'portal_unit_code', 'portal_received_on'],
    ]) }}",
) }}

with compared as (
    select * from {{ ref('fct_sync_difference') }}
),

statuses as (
    select * from {{ ref('dossier_status') }}
),

lost as (
    select * from {{ ref('core_lost_record') }}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

tolerances as (
    select make_interval(hours => max(value::integer) filter (where parameter = 'sync_lag_hours')) as sync_lag
    from {{ ref('reconciliation_tolerance') }}
),

-- What both were asked for; no row before both were read.
reads as (
    select
        min(batches.window_start) filter (where batches.feed = 'dossier') as city_from,
        min(batches.window_start) filter (where batches.feed = 'dossier_sync') as portal_from,
        least(
            max(batches.window_end) filter (where batches.feed = 'dossier'),
            max(batches.window_end) filter (where batches.feed = 'dossier_sync')
        ) - max(tolerances.sync_lag) as settled_until
    from batches
    cross join tolerances
    having
        count(batches.window_end) filter (where batches.feed = 'dossier') > 0
        and count(batches.window_end) filter (where batches.feed = 'dossier_sync') > 0
),

alike as (
    select
        compared.*,
        count(compared.city_code) over (partition by compared.likeness) as alike_at_city,
        count(compared.portal_code) over (partition by compared.likeness) as alike_at_portal
    from compared
),

-- One on each side and nothing else like them: the same dossier under another code.
paired as (
    select
        max(city_code) as city_code,
        max(portal_code) as portal_code,
        max(city_unit_code) as city_unit_code,
        max(portal_unit_code) as portal_unit_code,
        max(city_received_on) as city_received_on,
        max(portal_received_on) as portal_received_on,
        max(city_status_code) as city_status_code,
        max(portal_status_code) as portal_status_code,
        max(city_updated_at) as city_updated_at,
        max(portal_updated_at) as portal_updated_at
    from alike
    group by
        case
            when likeness is not null and alike_at_city = 1 and alike_at_portal = 1 then '=' || likeness
            else coalesce(city_code, portal_code)
        end
),

settled as (
    select
        paired.*,
        coalesce(paired.city_unit_code, '') = coalesce(paired.portal_unit_code, '') as is_same_unit,
        coalesce(paired.city_received_on = paired.portal_received_on, false)
        or (paired.city_received_on is null and paired.portal_received_on is null) as is_same_day
    from paired
),

explained as (
    select
        settled.*,
        case
            when settled.city_code <> settled.portal_code then 'code_replaced'
            when settled.city_code = settled.portal_code and not settled.is_same_unit then 'other_unit'
            when settled.city_code = settled.portal_code and not settled.is_same_day then 'other_receipt_day'
            when settled.city_code = settled.portal_code and settled.city_updated_at > reads.settled_until
                then 'status_lag'
            when settled.city_code = settled.portal_code and city_status.is_interrupted and portal_status.is_done
                then 'done_inserted'
            when settled.city_code = settled.portal_code then 'other_status'
            when settled.city_code is not null and lost_at_portal.reason is not null
                then lost_at_portal.reason || '_at_portal'
            when settled.city_code is not null and settled.city_updated_at > reads.settled_until
                then 'not_yet_at_portal'
            when settled.city_code is not null and settled.city_updated_at < reads.portal_from then 'before_portal_read'
            when settled.city_code is not null then 'missing_at_portal'
            when lost_at_city.reason is not null then lost_at_city.reason || '_at_city'
            when settled.portal_updated_at > reads.settled_until then 'not_yet_at_city'
            when settled.portal_updated_at < reads.city_from then 'before_city_read'
            else 'missing_at_city'
        end as reason
    from settled
    cross join reads
    left join statuses as city_status on settled.city_status_code = city_status.status_code
    left join statuses as portal_status on settled.portal_status_code = portal_status.status_code
    left join lost as lost_at_portal
        on lost_at_portal.feed = 'dossier_sync' and settled.city_code = lost_at_portal.record_key
    left join lost as lost_at_city
        on lost_at_city.feed = 'dossier' and settled.portal_code = lost_at_city.record_key
)

select
    coalesce(city_code, portal_code)::text as pair_code,
    reason::text as reason,
    city_code::text as city_dossier_code,
    portal_code::text as portal_dossier_code,
    city_unit_code::text as city_unit_code,
    portal_unit_code::text as portal_unit_code,
    city_received_on::date as city_received_on,
    portal_received_on::date as portal_received_on,
    city_status_code::text as city_status_code,
    portal_status_code::text as portal_status_code,
    city_updated_at::timestamptz as city_updated_at,
    portal_updated_at::timestamptz as portal_updated_at
from explained
