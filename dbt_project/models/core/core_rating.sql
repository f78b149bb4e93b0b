-- Grain: one row per rating in force, with the unit it belongs to.
{{ config(
    unique_key='rating_id',
    scope="held.rating_id in (" ~ touched_ratings() ~ ")",
    looks_up=true,
    indexes=[{'columns': ['dossier_code']}, {'columns': ['rated_on']}, {'columns': ['is_stale']}],
    post_hook="{{ note_cells([['rating', 'unit_code', 'rated_on']]) }}",
) }}

with versions as not materialized (
    select * from {{ ref('stg_rating__rating_version') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_ratings() }})
    {%- endif %}
),

histories as (
    select
        record_key,
        max(batch_id) as batch_id,
        min(batch_id) as first_batch_id
    from versions
    group by record_key
),

ratings as (
    select
        versions.*,
        histories.first_batch_id
    from histories
    inner join versions on histories.record_key = versions.record_key and histories.batch_id = versions.batch_id
    where versions.op = 'upsert'
),

dossiers as (
    select * from {{ ref('core_dossier') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

levels as (
    select * from {{ ref('rating_level') }}
),

quarantined as (
    select * from {{ ref('stg_ops__quarantine') }}
    where feed = 'rating'
),

channels as (
    select * from {{ ref('rating_channel') }}
),

-- The unit rated; unknown: at desk and kiosk the receiving unit or, without a dossier, the device's; else the resolving one.
attributed as (
    select
        ratings.*,
        levels.class as level_class,
        coalesce(quarantined.batch_id > ratings.batch_id, false) as is_stale,
        case
            when rated.unit_code is not null then 'rated'
            when channels.unit_rule = 'receiving' and dossiers.dossier_code is not null then 'receiving'
            when channels.unit_rule = 'receiving' then 'device'
            else 'resolving'
        end as unit_basis,
        rated.unit_code as rated_unit_code,
        device.unit_code as known_device_unit_code,
        dossiers.receiving_unit_code,
        dossiers.resolving_unit_code
    from ratings
    left join dossiers on ratings.dossier_code = dossiers.dossier_code
    left join quarantined on ratings.record_key = quarantined.record_key
    left join levels on ratings.level_code = levels.level_code
    left join channels on ratings.channel_code = channels.channel_code
    left join units as rated on ratings.unit_code = rated.unit_code
    left join units as device on ratings.device_unit_code = device.unit_code
),

placed as (
    select
        attributed.*,
        case attributed.unit_basis
            when 'rated' then attributed.rated_unit_code
            when 'receiving' then attributed.receiving_unit_code
            when 'device' then attributed.known_device_unit_code
            when 'resolving' then attributed.resolving_unit_code
        end as placed_unit_code
    from attributed
)

select
    rating_id::text as rating_id,
    dossier_code::text as dossier_code,
    placed_unit_code::text as unit_code,
    case when placed_unit_code is not null then unit_basis end::text as unit_basis,
    channel_code::text as channel_code,
    has_question::boolean as has_question,
    question_code::text as question_code,
    level_code::text as level_code,
    level_class::text as level_class,
    rated_at::timestamptz as rated_at,
    {{ local_date('rated_at') }} as rated_on,
    batch_id::bigint as batch_id,
    first_batch_id::bigint as first_batch_id,
    is_stale::boolean as is_stale
from placed
{{ written_by('rated_on') }}
