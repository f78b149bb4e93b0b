-- Grain: one row per open dossier, with its due moment under the policy of the last day that was read.
{{ config(
    unique_key='dossier_code',
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
    indexes=[{'columns': ['unit_code', 'due_on']}],
) }}

with dossiers as (
    select * from {{ ref('fct_dossier') }}
    where
        outcome = 'open' and policy_id is not null and entered_on is not null and not is_test_record
        {%- if is_increment() %}
        and dossier_code in ({{ touched_records('dossier') }})
        {%- endif %}
)

select
    dossier_code::text as dossier_code,
    unit_code::text as unit_code,
    policy_id::text as policy_id,
    status_code::text as status_code,
    entered_on::date as received_on,
    due_at::timestamptz as due_at,
    due_is_date::boolean as due_is_date,
    due_on::date as due_on,
    due_basis_used::text as due_basis_used,
    coalesce(overdue_after, entered_on)::date as overdue_after
from dossiers
