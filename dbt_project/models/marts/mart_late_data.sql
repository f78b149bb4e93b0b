-- Grain: one row per measure, unit, day of the event and day of the load that first told of it.
{{ config(
    alias='late_data',
    unique_key=['event_on', 'measure', 'unit_code', 'loaded_on'],
    scope=in_touched_cells("replace(held.unit_code, 'unknown', '')", 'held.event_on', ['receipt', 'result', 'rating', 'petition']),
    looks_up=true,
) }}

-- A rating that counts since its dossier changed is noted there. depends_on: {{ ref('fct_unit_day_c_case') }}
-- Not before these, which K waits for. depends_on: {{ ref('fct_unit_day_a_case') }}
{%- set kinds = ['receipt', 'result', 'rating', 'petition'] %}

with core_dossiers as (
    {{ of_touched_cells(ref('core_dossier'), 'resolving_unit_code', 'received_on', kinds) }}
),

results as (
    {{ of_touched_cells(ref('fct_dossier'), 'unit_code', 'result_on', kinds) }}
),

ratings as (
    {{ of_touched_cells(ref('core_rating'), 'unit_code', 'rated_on', kinds) }}
),

attitudes as (
    select * from {{ ref('fct_c_population') }}
    {%- if is_increment() %}
    where rated_on = any(array({{ touched_days(kinds) }}))
    {%- endif %}
),

petitions as (
    {{ of_touched_cells(ref('core_petition'), 'unit_code', 'received_on', kinds) }}
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
    from core_dossiers
    where received_on is not null
    group by resolving_unit_code, received_on, first_batch_id
    union all
    select
        'dossier_resolved' as measure,
        unit_code,
        result_on as event_on,
        first_result_batch_id as batch_id,
        count(*) as record_count
    from results
    where is_result
    group by unit_code, result_on, first_result_batch_id
    union all
    select
        'rating' as measure,
        ratings.unit_code,
        ratings.rated_on as event_on,
        ratings.first_batch_id as batch_id,
        count(*) as record_count
    from ratings
    inner join attitudes on ratings.rating_id = attitudes.rating_id
    group by ratings.unit_code, ratings.rated_on, ratings.first_batch_id
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
{{ written_by('event_on') }}
