-- Grain: one row per rating of attitude under a policy in force (overall ratings where the source asks no question): index C.
{{ config(
    unique_key='rating_id',
    indexes=[{'columns': ['unit_code', 'rated_on']}],
) }}

with ratings as (
    select * from {{ ref('core_rating') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

channels as (
    select * from {{ ref('rating_channel') }}
),

dossiers as (
    select * from {{ ref('core_dossier') }}
    where result_at is not null
),

population as (
    select
        ratings.*,
        policies.policy_id,
        policies.c_middle_level,
        policies.c_repeat
    from ratings
    left join channels on ratings.channel_code = channels.channel_code
    left join dossiers on ratings.dossier_code = dossiers.dossier_code
    inner join policies
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
),

ranked as (
    select
        population.*,
        row_number() over (
            partition by population.dossier_code, population.rated_on
            order by population.rated_at desc, population.rating_id collate "C" desc -- noqa: RF02,RF03
        ) as recency
    from population
),

judged as (
    select
        ranked.*,
        case
            when ranked.c_repeat = 'last_per_dossier_day' and ranked.dossier_code is not null and ranked.recency > 1
                then 'repeated'
        end as exclusion_reason
    from ranked
)

select
    rating_id::text as rating_id,
    dossier_code::text as dossier_code,
    unit_code::text as unit_code,
    unit_basis::text as unit_basis,
    policy_id::text as policy_id,
    channel_code::text as channel_code,
    (not has_question)::boolean as is_overall,
    level_code::text as level_code,
    rated_at::timestamptz as rated_at,
    rated_on::date as rated_on,
    exclusion_reason::text as exclusion_reason,
    case
        when exclusion_reason is not null then null
        when level_class = 'good' then 1
        when level_class = 'middle' then (c_middle_level = 'good')::integer
        else 0
    end::numeric(9, 6) as point
from judged
