-- Grain: one row per rating of index C's population: why it does not count, or nothing.
{{ config(materialized='view') }}

select
    population.rating_id::text as rating_id,
    population.policy_id::text as policy_id,
    population.dossier_code::text as dossier_code,
    population.unit_code::text as unit_code,
    population.unit_basis::text as unit_basis,
    population.channel_code::text as channel_code,
    population.has_question::boolean as has_question,
    population.level_code::text as level_code,
    population.level_class::text as level_class,
    population.rated_at::timestamptz as rated_at,
    population.rated_on::date as rated_on,
    case
        when
            policies.c_repeat = 'last_per_dossier_day'
            and population.dossier_code is not null
            and row_number() over (
                partition by population.dossier_code, population.rated_on
                order by population.rated_at desc, population.rating_id collate "C" desc -- noqa: RF02,RF03
            ) > 1
            then 'repeated'
    end::text as exclusion_reason
from {{ ref('fct_c_population') }} as population
inner join {{ ref('dim_policy_parameter') }} as policies on population.policy_id = policies.policy_id
