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

population as (
    select
        dossiers.*,
        {{ attributed_to('dossiers', 'policies') }} as unit_code,
        policies.inherited_overdue,
        policies.policy_id,
        policies.due_missing,
        policies.at_once_cutoff,
        policies.midnight_is_date,
        policies.a_grace_working_days,
        policies.a_point_within_grace,
        {{ is_date_only('dossiers.received_at', 'dossiers.received_at_is_date', 'policies') }} as received_is_date,
        {{ is_date_only('dossiers.result_at', 'dossiers.result_at_is_date', 'policies') }} as result_is_date,
        {{ due_basis('dossiers', 'policies') }} as due_basis
    from dossiers
    inner join policies
        on
            dossiers.result_on >= policies.valid_from
            and (policies.valid_to is null or dossiers.result_on < policies.valid_to)
            and dossiers.status_code = any(string_to_array(policies.result_statuses, ','))
),

{{ due_moment('population') }},

-- Overdue already when the unit that gives the result took over: it was received and due before the unit began.
handed_over as (
    select
        rolled.*,
        {{ not_after('rolled.received_at', 'rolled.received_is_date', 'rolled.result_at', 'rolled.result_is_date') }}
            as is_received_first,
        coalesce(
            units.valid_from > rolled.receipt_on and units.valid_from > rolled.due_on
            and units.valid_from <= rolled.result_on,
            false
        ) as is_inherited_overdue
    from rolled
    left join units on rolled.unit_code = units.unit_code
),

compared as (
    select
        handed_over.*,
        case
            when handed_over.is_test_record then 'test_record'
            when not handed_over.is_received_first then 'finish_before_receipt'
            when handed_over.due_on is null then 'no_due_date'
            when handed_over.is_inherited_overdue and handed_over.inherited_overdue = 'exclude' then 'inherited_overdue'
        end as exclusion_reason,
        case
            when handed_over.due_is_date or handed_over.result_is_date then handed_over.result_on > handed_over.due_on
            else handed_over.result_at > handed_over.recorded_due_at
        end as is_late,
        -- Working days after the due date, up to the day of the result; before the calendar begins none is counted.
        result_day.working_day_number - coalesce(due_day.working_day_number, 0) as working_days_late
    from handed_over
    left join days as result_day on handed_over.result_on = result_day.day
    left join days as due_day on handed_over.due_on = due_day.day
)

select
    dossier_code::text as dossier_code,
    unit_code::text as unit_code,
    policy_id::text as policy_id,
    procedure_code::text as procedure_code,
    status_code::text as status_code,
    received_at::timestamptz as received_at,
    received_is_date::boolean as received_is_date,
    result_at::timestamptz as result_at,
    result_is_date::boolean as result_is_date,
    result_on::date as result_on,
    result_moment_basis::text as result_moment_basis,
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
    is_inherited_overdue::boolean as is_inherited_overdue,
    exclusion_reason::text as exclusion_reason,
    case when exclusion_reason is null then is_late end::boolean as is_late,
    case when exclusion_reason is null and is_late then working_days_late end::integer as working_days_late,
    case
        when exclusion_reason is not null then null
        when not is_late then 1
        when working_days_late <= a_grace_working_days then a_point_within_grace
        else 0
    end::numeric(9, 6) as point
from compared
