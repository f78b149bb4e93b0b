-- Grain: one row per dossier of index A's population: why it does not count, or nothing.
{{ config(materialized='view') }}

select
    population.dossier_code::text as dossier_code,
    population.policy_id::text as policy_id,
    population.unit_code::text as unit_code,
    population.status_code::text as status_code,
    population.result_on::date as result_on,
    population.received_is_date::boolean as received_is_date,
    population.result_is_date::boolean as result_is_date,
    population.due_at::timestamptz as due_at,
    population.due_is_date::boolean as due_is_date,
    population.due_on::date as due_on,
    population.due_basis_used::text as due_basis_used,
    population.is_late::boolean as is_late,
    population.working_days_late::integer as working_days_late,
    population.is_inherited_overdue::boolean as is_inherited_overdue,
    {{ a_exclusion('population', 'policies') }}::text as exclusion_reason
from {{ ref('fct_a_population') }} as population
inner join {{ ref('dim_policy_parameter') }} as policies on population.policy_id = policies.policy_id
