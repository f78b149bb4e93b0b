-- Grain: one row per dossier whose result counts under the policy of its day: the population of index A.
{{ config(materialized='view') }}

select
    dossier_code::text as dossier_code,
    policy_id::text as policy_id,
    unit_code::text as unit_code,
    status_code::text as status_code,
    result_on::date as result_on,
    received_is_date::boolean as received_is_date,
    result_is_date::boolean as result_is_date,
    is_test_record::boolean as is_test_record,
    is_received_first::boolean as is_received_first,
    due_at::timestamptz as due_at,
    due_is_date::boolean as due_is_date,
    due_on::date as due_on,
    due_basis_used::text as due_basis_used,
    is_late::boolean as is_late,
    working_days_late::integer as working_days_late,
    is_inherited_overdue::boolean as is_inherited_overdue,
    return_count::integer as return_count,
    permitted_returns::integer as permitted_returns
from {{ ref('fct_dossier') }}
where is_result
