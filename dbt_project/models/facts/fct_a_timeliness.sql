-- Grain: one row per dossier with a result under a policy in force: index A, population, exclusion, point.
{{ config(
    unique_key='dossier_code',
    indexes=[{'columns': ['unit_code', 'result_on']}],
) }}

with dossiers as (
    select * from {{ ref('core_dossier') }}
    where result_at is not null
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

procedures as (
    select * from {{ ref('dim_procedure') }}
),

days as (
    select * from {{ ref('dim_calendar_day') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

{{ timeliness('policies') }}

select
    compared.dossier_code::text as dossier_code,
    compared.unit_code::text as unit_code,
    compared.policy_id::text as policy_id,
    compared.procedure_code::text as procedure_code,
    compared.status_code::text as status_code,
    compared.received_at::timestamptz as received_at,
    compared.received_is_date::boolean as received_is_date,
    compared.result_at::timestamptz as result_at,
    compared.result_is_date::boolean as result_is_date,
    compared.result_on::date as result_on,
    compared.result_moment_basis::text as result_moment_basis,
    case
        when compared.due_is_date then compared.due_on::timestamp at time zone '{{ var("timezone") }}'
        else compared.recorded_due_at
    end::timestamptz as due_at,
    compared.due_is_date::boolean as due_is_date,
    compared.due_on::date as due_on,
    case
        when compared.recorded_due_at is not null then compared.due_basis
        when compared.due_on is not null then 'procedure'
    end::text as due_basis_used,
    compared.is_inherited_overdue::boolean as is_inherited_overdue,
    compared.exclusion_reason::text as exclusion_reason,
    (compared.lateness <> 'in_time')::boolean as is_late,
    case when compared.lateness <> 'in_time' then compared.working_days_late end::integer as working_days_late,
    compared.lateness::text as lateness,
    {{ a_point('compared.lateness', 'compared') }}::numeric(9, 6) as point
from compared
