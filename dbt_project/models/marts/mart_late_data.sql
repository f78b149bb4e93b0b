-- Grain: one row per measure, unit, day of the event and day of the load that first told of it.
{{ config(alias='late_data', unique_key=['measure', 'unit_code', 'event_on', 'loaded_on']) }}

with dossiers as (
    select * from {{ ref('core_dossier') }}
),

results as (
    select * from {{ ref('fct_a_timeliness') }}
),

ratings as (
    select * from {{ ref('core_rating') }}
),

attitudes as (
    select * from {{ ref('fct_c_attitude') }}
),

petitions as (
    select * from {{ ref('core_petition') }}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

-- Counted by batch first: few batches, many records.
told as (
    select
        'dossier_received' as measure,
        resolving_unit_code as unit_code,
        received_on as event_on,
        first_batch_id as batch_id,
        count(*) as record_count
    from dossiers
    where received_on is not null
    group by resolving_unit_code, received_on, first_batch_id
    union all
    select
        'dossier_resolved' as measure,
        results.unit_code,
        results.result_on as event_on,
        dossiers.first_result_batch_id as batch_id,
        count(*) as record_count
    from results
    inner join dossiers on results.dossier_code = dossiers.dossier_code
    group by results.unit_code, results.result_on, dossiers.first_result_batch_id
    union all
    select
        'rating' as measure,
        attitudes.unit_code,
        attitudes.rated_on as event_on,
        ratings.first_batch_id as batch_id,
        count(*) as record_count
    from attitudes
    inner join ratings on attitudes.rating_id = ratings.rating_id
    group by attitudes.unit_code, attitudes.rated_on, ratings.first_batch_id
    union all
    select
        'petition' as measure,
        unit_code,
        received_on as event_on,
        first_batch_id as batch_id,
        count(*) as record_count
    from petitions
    where received_on is not null
    group by unit_code, received_on, first_batch_id
),

dated as (
    select
        told.measure,
        coalesce(told.unit_code, 'unknown') as unit_code,
        told.event_on,
        batches.loaded_on,
        max(batches.feed) as feed,
        sum(told.record_count) as record_count
    from told
    inner join batches on told.batch_id = batches.batch_id
    group by told.measure, coalesce(told.unit_code, 'unknown'), told.event_on, batches.loaded_on
)

select
    feed::text as feed,
    measure::text as measure,
    unit_code::text as unit_code,
    event_on::date as event_on,
    loaded_on::date as loaded_on,
    (loaded_on - event_on)::integer as days_late,
    record_count::bigint as record_count
from dated
