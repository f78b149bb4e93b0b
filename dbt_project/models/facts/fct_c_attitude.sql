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

population as (
    select
        ratings.*,
        policies.policy_id,
        policies.c_middle_level
    from ratings
    inner join policies
        on
            ratings.rated_on >= policies.valid_from
            and (policies.valid_to is null or ratings.rated_on < policies.valid_to)
            and (not ratings.has_question or ratings.question_code = policies.c_question)
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
    case
        when level_class = 'good' then 1
        when level_class = 'middle' then (c_middle_level = 'good')::integer
        else 0
    end::numeric(9, 6) as point
from population
