-- Grain: one row per unit, day of receipt, status and reason: dossiers of the city and of the national portal.
{{ config(
    alias='reconciliation',
    unique_key=['unit_code', 'received_on', 'status_code', 'reason'],
    scope="(replace(held.unit_code, 'unknown', ''), coalesce(nullif(held.received_on, '1900-01-01'), '-infinity')) in ("
        ~ touched_cells('receipt') ~ ")",
    looks_up=true,
) }}

with city as (
    {{ of_touched_cells(ref('core_dossier'), 'resolving_unit_code', 'received_on', 'receipt') }}
),

portal as (
    {{ of_touched_cells(ref('core_dossier_sync'), 'resolving_unit_code', 'received_on', 'receipt') }}
),

differences as (
    select * from {{ ref('dq_sync_difference') }}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

-- Nothing is reconciled before both were read.
reads as (
    select 1 as both_read
    from batches
    having
        count(window_end) filter (where feed = 'dossier') > 0
        and count(window_end) filter (where feed = 'dossier_sync') > 0
),

totals as (
    select
        resolving_unit_code as unit_code,
        received_on,
        status_code,
        count(*) as city_count,
        0 as portal_count
    from city
    group by resolving_unit_code, received_on, status_code
    union all
    select
        resolving_unit_code as unit_code,
        received_on,
        status_code,
        0 as city_count,
        count(*) as portal_count
    from portal
    group by resolving_unit_code, received_on, status_code
),

-- Everything is the same at first; what differs leaves that class for the one of its reason, each side in its own cell.
moved as (
    select
        unit_code,
        received_on,
        status_code,
        'same' as reason,
        city_count,
        portal_count
    from totals
    union all
    select
        differences.city_unit_code as unit_code,
        differences.city_received_on as received_on,
        differences.city_status_code as status_code,
        side.reason,
        side.counted as city_count,
        0 as portal_count
    from differences
    cross join lateral (values ('same', -1), (differences.reason, 1)) as side (reason, counted)
    where differences.city_dossier_code is not null
    union all
    select
        differences.portal_unit_code as unit_code,
        differences.portal_received_on as received_on,
        differences.portal_status_code as status_code,
        side.reason,
        0 as city_count,
        side.counted as portal_count
    from differences
    cross join lateral (values ('same', -1), (differences.reason, 1)) as side (reason, counted)
    where differences.portal_dossier_code is not null
),

counted as (
    select
        moved.unit_code,
        moved.received_on,
        moved.status_code,
        moved.reason,
        sum(moved.city_count) as city_count,
        sum(moved.portal_count) as portal_count
    from moved
    cross join reads
    {%- if is_increment() %}
    where
        (
            (coalesce(moved.unit_code, ''), coalesce(moved.received_on, '-infinity'))
            in ({{ touched_cells('receipt') }})
        ) is true
    {%- endif %}
    group by moved.unit_code, moved.received_on, moved.status_code, moved.reason
)

select
    coalesce(unit_code, 'unknown')::text as unit_code,
    coalesce(received_on, '1900-01-01')::date as received_on,
    coalesce(status_code, 'unknown')::text as status_code,
    reason::text as reason,
    city_count::bigint as city_count,
    portal_count::bigint as portal_count,
    (city_count - portal_count)::bigint as difference
from counted
where city_count <> 0 or portal_count <> 0
