-- Grain: one row per dossier of index B's population: returns between receipt and result, its point, or why it has none.
{{ config(materialized='view') }}

select
    examined.dossier_code::text as dossier_code,
    examined.unit_code::text as unit_code,
    examined.policy_id::text as policy_id,
    examined.status_code::text as status_code,
    examined.result_on::date as result_on,
    examined.is_excluded::boolean as is_excluded,
    examined.exclusion_reason::text as exclusion_reason,
    examined.return_count::integer as return_count,
    examined.permitted_returns::integer as permitted_returns,
    case when examined.exclusion_reason is null then {{ b_point('examined', 'policies') }} end::numeric(9, 6) as point
from {{ ref('fct_b_exclusion') }} as examined
inner join {{ ref('dim_policy_parameter') }} as policies on examined.policy_id = policies.policy_id
