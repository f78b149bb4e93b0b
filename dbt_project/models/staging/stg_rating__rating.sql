with ratings as (
    {{ version_in_force(source('raw', 'rating')) }}
),

code as (
    select * from {{ ref('stg_register__code') }}
    where system = 'rating'
)

select
    ratings.record_key,
    ratings.batch_id,
    ratings.first_batch_id,
    ratings.rating_id,
    ratings.dossier_code,
    ratings.question_code is not null as has_question,
    question.target_code as question_code,
    level.target_code as level_code,
    channel.target_code as channel_code,
    unit.target_code as unit_code,
    device.target_code as device_unit_code,
    ratings.rated_at
from ratings
left join code as question
    on question.code_kind = 'rating_question' and ratings.question_code = question.source_code
left join code as level
    on level.code_kind = 'rating_level' and ratings.level_code = level.source_code
left join code as channel
    on channel.code_kind = 'rating_channel' and ratings.channel_code = channel.source_code
left join code as unit
    on unit.code_kind = 'unit' and ratings.unit_source_code = unit.source_code
left join code as device
    on device.code_kind = 'device' and ratings.device_code = device.source_code
where ratings.op = 'upsert'
