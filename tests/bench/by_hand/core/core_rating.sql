with version as (
    select
        record_key,
        max(batch_id) as batch_id,
        min(batch_id) as first_batch_id
    from raw.rating
    group by record_key
),

unit_code as (
    select
        code.code_kind,
        code.source_code,
        unit.unit_code
    from by_hand_scratch.code
    inner join by_hand_core.dim_unit as unit on code.target_code = unit.unit_code
    where code.system = 'rating' and code.code_kind in ('unit', 'device')
),

placed as (
    select
        r.*,
        version.first_batch_id,
        channel.target_code as channel,
        question.target_code as question,
        level.target_code as level,
        classes.class as level_class,
        case
            when rated.unit_code is not null then 'rated'
            when channels.unit_rule = 'receiving' and d.dossier_code is not null then 'receiving'
            when channels.unit_rule = 'receiving' then 'device'
            else 'resolving'
        end as unit_basis,
        case
            when rated.unit_code is not null then rated.unit_code
            when channels.unit_rule = 'receiving' and d.dossier_code is not null then d.receiving_unit_code
            when channels.unit_rule = 'receiving' then device.unit_code
            else d.resolving_unit_code
        end as unit_code,
        coalesce(quarantined.batch_id > r.batch_id, false) as is_stale
    from version
    inner join raw.rating as r on version.record_key = r.record_key and version.batch_id = r.batch_id
    left join by_hand_core.core_dossier as d on r.dossier_code = d.dossier_code
    left join unit_code as rated on rated.code_kind = 'unit' and r.unit_source_code = rated.source_code
    left join unit_code as device on device.code_kind = 'device' and r.device_code = device.source_code
    left join by_hand_scratch.code as channel
        on channel.system = 'rating' and channel.code_kind = 'rating_channel' and r.channel_code = channel.source_code
    left join by_hand_scratch.code as question
        on question.system = 'rating' and question.code_kind = 'rating_question' and r.question_code = question.source_code
    left join by_hand_scratch.code as level
        on level.system = 'rating' and level.code_kind = 'rating_level' and r.level_code = level.source_code
    left join rules.rating_channel as channels on channel.target_code = channels.channel_code
    left join rules.rating_level as classes on level.target_code = classes.level_code
    left join by_hand_staging.stg_ops__quarantine as quarantined
        on quarantined.feed = 'rating' and r.record_key = quarantined.record_key
    where r.op = 'upsert'
)

select
    rating_id,
    dossier_code,
    unit_code,
    case when unit_code is not null then unit_basis end as unit_basis,
    channel as channel_code,
    question_code is not null as has_question,
    question as question_code,
    level as level_code,
    level_class,
    rated_at,
    (rated_at at time zone 'Asia/Ho_Chi_Minh')::date as rated_on,
    batch_id,
    first_batch_id,
    is_stale
from placed
