with ratings as (
    {{ version_in_force(source('raw', 'rating')) }}
),

code as (
    {{ targets_by_code('rating') }}
)

select
    ratings.record_key,
    ratings.batch_id,
    ratings.first_batch_id,
    ratings.rating_id,
    ratings.dossier_code,
    ratings.question_code is not null as has_question,
    {{ target_of('rating_question', 'ratings.question_code') }} as question_code,
    {{ target_of('rating_level', 'ratings.level_code') }} as level_code,
    {{ target_of('rating_channel', 'ratings.channel_code') }} as channel_code,
    {{ target_of('unit', 'ratings.unit_source_code') }} as unit_code,
    {{ target_of('device', 'ratings.device_code') }} as device_unit_code,
    ratings.rated_at
from ratings
where ratings.op = 'upsert'
