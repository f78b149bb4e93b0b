-- Grain: one row per open dossier, with its due moment under the policy of the last day that was read.
{{ config(
    unique_key='dossier_code',
    indexes=[{'columns': ['unit_code', 'due_on']}],
) }}

with batches as (
    select * from {{ ref('dim_batch') }}
),

dossiers as (
    select * from {{ ref('core_dossier') }}
    where received_at is not null and not is_test_record
),

statuses as (
    select * from {{ ref('dossier_status') }}
    where outcome = 'open'
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

reached as (
    select {{ local_date('max(window_end)') }} - 1 as last_day
    from batches
    where feed = 'dossier'
),

population as (
    select
        dossiers.*,
        policies.policy_id,
        policies.due_missing,
        policies.at_once_cutoff,
        policies.midnight_is_date,
        {{ attributed_to('dossiers', 'policies') }} as unit_code,
        {{ is_date_only('dossiers.received_at', 'dossiers.received_at_is_date', 'policies') }} as received_is_date,
        {{ due_basis('dossiers', 'policies') }} as due_basis
    from dossiers
    inner join statuses on dossiers.status_code = statuses.status_code
    inner join reached on true
    inner join policies
        on
            reached.last_day >= policies.valid_from
            and (policies.valid_to is null or reached.last_day < policies.valid_to)
),

{{ due_moment('population') }}

select
    dossier_code::text as dossier_code,
    unit_code::text as unit_code,
    policy_id::text as policy_id,
    status_code::text as status_code,
    receipt_on::date as received_on,
    case
        when due_is_date then due_on::timestamp at time zone '{{ var("timezone") }}'
        else recorded_due_at
    end::timestamptz as due_at,
    due_is_date::boolean as due_is_date,
    due_on::date as due_on,
    case
        when recorded_due_at is not null then due_basis
        when due_on is not null then 'procedure'
    end::text as due_basis_used,
    greatest(receipt_on, due_on)::date as overdue_after
from rolled
