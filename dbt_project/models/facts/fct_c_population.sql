-- Grain: one row per rating that answers the policy's question by one of its channels: the population of index C.
{{ config(materialized='view') }}

select
    ratings.rating_id::text as rating_id,
    policies.policy_id::text as policy_id,
    ratings.dossier_code::text as dossier_code,
    ratings.unit_code::text as unit_code,
    ratings.unit_basis::text as unit_basis,
    ratings.channel_code::text as channel_code,
    ratings.has_question::boolean as has_question,
    ratings.level_code::text as level_code,
    ratings.level_class::text as level_class,
    ratings.rated_at::timestamptz as rated_at,
    ratings.rated_on::date as rated_on
from {{ ref('core_rating') }} as ratings
left join {{ ref('rating_channel') }} as channels on ratings.channel_code = channels.channel_code
left join {{ ref('core_dossier') }} as dossiers
    on ratings.dossier_code = dossiers.dossier_code and dossiers.result_at is not null
inner join {{ ref('dim_policy_parameter') }} as policies
    on
        ratings.rated_on >= policies.valid_from
        and (policies.valid_to is null or ratings.rated_on < policies.valid_to)
        and (not ratings.has_question or ratings.question_code = policies.c_question)
        -- Article 7.1 speaks of the city's own system, after a result; Article 9 of every channel.
        and (
            policies.c_channels = 'art9'
            or (
                channels.is_city_system
                and dossiers.status_code = any(string_to_array(policies.result_statuses, ','))
            )
        )
