-- Grain: one row per rating of index C's population (overall ratings where the source asks no question): its point.
{{ config(materialized='view') }}

select
    examined.rating_id::text as rating_id,
    examined.dossier_code::text as dossier_code,
    examined.unit_code::text as unit_code,
    examined.unit_basis::text as unit_basis,
    examined.policy_id::text as policy_id,
    examined.channel_code::text as channel_code,
    (not examined.has_question)::boolean as is_overall,
    examined.level_code::text as level_code,
    examined.rated_at::timestamptz as rated_at,
    examined.rated_on::date as rated_on,
    examined.exclusion_reason::text as exclusion_reason,
    case
        when examined.exclusion_reason is null then {{ c_point('examined', 'policies') }}
    end::numeric(9, 6) as point
from {{ ref('fct_c_exclusion') }} as examined
inner join {{ ref('dim_policy_parameter') }} as policies on examined.policy_id = policies.policy_id
