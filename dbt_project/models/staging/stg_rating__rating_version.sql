-- Every version of every rating that the build may see, codes mapped to ours.
select
    versions.record_key,
    versions.batch_id,
    versions.op,
    versions.rating_id,
    versions.dossier_code,
    versions.question_code is not null as has_question,
    {{ target_of('rating', 'rating_question', 'versions.question_code') }} as question_code,
    {{ target_of('rating', 'rating_level', 'versions.level_code') }} as level_code,
    {{ target_of('rating', 'rating_channel', 'versions.channel_code') }} as channel_code,
    {{ target_of('rating', 'unit', 'versions.unit_source_code') }} as unit_code,
    {{ target_of('rating', 'device', 'versions.device_code') }} as device_unit_code,
    versions.rated_at
from {{ source('raw', 'rating') }} as versions
where {{ as_of('rating', 'versions') }}
