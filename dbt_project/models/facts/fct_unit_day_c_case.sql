-- Grain: one row per unit, day and kind of rating, whatever the policy counts; ratings of one dossier on one day stand singly.
{{ config(
    unique_key=[
        'event_on', 'unit_code', 'question_code', 'is_city_system', 'status_code', 'level_class', 'dossier_code', 'recency',
    ],
    scope="held.event_on = any(array(" ~ touched_rating_days() ~ "))",
    looks_up=true,
    post_hook="{{ note_cells([['rating', 'unit_code', 'event_on']]) }}",
) }}

with ratings as (
    select * from {{ ref('core_rating') }}
    {%- if is_increment() %}
    where rated_on = any(array({{ touched_rating_days() }}))
    {%- endif %}
),

channels as (
    select * from {{ ref('rating_channel') }}
),

dossiers as (
    select * from {{ ref('core_dossier') }}
    where
        result_at is not null
        {%- if is_increment() %}
        and dossier_code = any(array(select ratings.dossier_code from ratings))
        {%- endif %}
),

-- Which rating of a dossier is its last of the day depends on which of them count: they are told apart by their order. Only
-- answers to one question can stand in each other's way, and ratings without a question in the way of all.
ordered as (
    select
        ratings.*,
        ratings.dossier_code is not null
        and (
            count(*) over same_question > 1
            or (count(*) over same_day > 1 and bool_or(not ratings.has_question) over same_day)
        ) as is_one_of_several,
        row_number() over (same_day order by ratings.rated_at desc, ratings.rating_id collate "C" desc) -- noqa: RF02,RF03
            as recency
    from ratings
    window
        same_day as (partition by ratings.dossier_code, ratings.rated_on),
        same_question as (partition by ratings.dossier_code, ratings.rated_on, ratings.question_code)
),

described as (
    select
        ordered.unit_code,
        ordered.rated_on,
        ordered.question_code,
        ordered.has_question,
        channels.is_city_system,
        dossiers.status_code,
        ordered.level_class,
        case when ordered.is_one_of_several then ordered.dossier_code end as dossier_code,
        case when ordered.is_one_of_several then ordered.recency else 0 end as recency
    from ordered
    left join channels on ordered.channel_code = channels.channel_code
    left join dossiers on ordered.dossier_code = dossiers.dossier_code
)

-- A key has no nulls: no unit, no question, no result, no class and no dossier of its own are empty.
select
    coalesce(unit_code, '')::text as unit_code,
    rated_on::date as event_on,
    case when has_question then coalesce(question_code, 'other') else '' end::text as question_code,
    coalesce(is_city_system, false)::boolean as is_city_system,
    coalesce(status_code, '')::text as status_code,
    coalesce(level_class, '')::text as level_class,
    coalesce(dossier_code, '')::text as dossier_code,
    recency::bigint as recency,
    count(*)::bigint as ratings
from described
group by
    unit_code, rated_on, has_question, question_code, is_city_system, status_code, level_class, dossier_code, recency
{{ written_by('rated_on') }}
