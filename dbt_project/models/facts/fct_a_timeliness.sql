-- Grain: one row per dossier of index A's population: its point, or why it has none.
{{ config(materialized='view') }}

{%- set lateness = a_lateness('examined', 'policies') %}

-- A left join, so that who asks for nothing of the dossier itself does not read it.
select
    examined.dossier_code::text as dossier_code,
    examined.unit_code::text as unit_code,
    examined.policy_id::text as policy_id,
    dossiers.procedure_code::text as procedure_code,
    examined.status_code::text as status_code,
    dossiers.received_at::timestamptz as received_at,
    examined.received_is_date::boolean as received_is_date,
    dossiers.result_at::timestamptz as result_at,
    examined.result_is_date::boolean as result_is_date,
    examined.result_on::date as result_on,
    dossiers.result_moment_basis::text as result_moment_basis,
    examined.due_at::timestamptz as due_at,
    examined.due_is_date::boolean as due_is_date,
    examined.due_on::date as due_on,
    examined.due_basis_used::text as due_basis_used,
    examined.is_inherited_overdue::boolean as is_inherited_overdue,
    examined.exclusion_reason::text as exclusion_reason,
    ({{ lateness }} <> 'in_time')::boolean as is_late,
    case when {{ lateness }} <> 'in_time' then examined.working_days_late end::integer as working_days_late,
    {{ lateness }}::text as lateness,
    {{ a_point(lateness, 'policies') }}::numeric(9, 6) as point
from {{ ref('fct_a_exclusion') }} as examined
inner join {{ ref('dim_policy_parameter') }} as policies on examined.policy_id = policies.policy_id
left join {{ ref('core_dossier') }} as dossiers on examined.dossier_code = dossiers.dossier_code
