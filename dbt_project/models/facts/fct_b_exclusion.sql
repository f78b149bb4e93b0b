-- Grain: one row per dossier of index B's population, which is index A's: why it does not count, or nothing.
{{ config(materialized='view') }}

{# A dossier without a due date, or overdue before the unit had it, was guided all the same. #}
{%- set is_excluded = 'population.is_test_record or not coalesce(population.is_received_first, true)' %}

select
    population.dossier_code::text as dossier_code,
    population.policy_id::text as policy_id,
    population.unit_code::text as unit_code,
    population.status_code::text as status_code,
    population.result_on::date as result_on,
    population.return_count::integer as return_count,
    population.permitted_returns::integer as permitted_returns,
    ({{ is_excluded }})::boolean as is_excluded,
    case
        when population.is_test_record then 'test_record'
        when {{ is_excluded }} then 'finish_before_receipt'
        when {{ b_is_left_out('population', 'policies') }} then 'not_returned'
    end::text as exclusion_reason
from {{ ref('fct_a_population') }} as population
inner join {{ ref('dim_policy_parameter') }} as policies on population.policy_id = policies.policy_id
