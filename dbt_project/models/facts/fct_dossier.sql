-- Grain: one row per dossier in force, with its moments under the policy of the day of its result; open, of the last day read.
{{ config(
    unique_key='dossier_code',
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
    indexes=[
        {'columns': ['result_on', 'unit_code']},
        {'columns': ['entered_on', 'unit_code']},
        {'columns': ['overdue_after', 'unit_code']},
    ],
    post_hook="{{ note_cells([
        ['result', 'unit_code', 'result_on'],
        ['flow', 'unit_code', 'result_on'],
        ['flow', 'unit_code', 'entered_on'],
        ['flow', 'unit_code', 'overdue_after'],
    ]) }}",
) }}

with core_dossiers as not materialized (
    select * from {{ ref('core_dossier') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records('dossier') }})
    {%- endif %}
),

supplements as (
    select * from {{ ref('core_supplement') }}
    where
        is_return and requested_at is not null
        {%- if is_increment() %}
        and dossier_code in ({{ touched_records('dossier') }})
        {%- endif %}
),

statuses as (
    select * from {{ ref('dossier_status') }}
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

batches as (
    select * from {{ ref('dim_batch') }}
),

reached as (
    select {{ local_date('max(window_end)') }} - 1 as last_day
    from batches
    where feed = 'dossier'
),

dossiers as not materialized (
    select
        core_dossiers.*,
        statuses.outcome,
        coalesce(statuses.outcome = 'open', false) as is_open,
        case when statuses.outcome = 'open' then reached.last_day else core_dossiers.result_on end as judged_on
    from core_dossiers
    cross join reached
    left join statuses on core_dossiers.status_code = statuses.status_code
),

{{ timeliness('policies', join='left') }},

-- Dossiers that were asked for more, with the precision of their moments.
asked as (
    select
        dossiers.dossier_code,
        dossiers.received_at,
        dossiers.result_at,
        policies.policy_id,
        policies.midnight_is_date,
        {{ is_date_only('dossiers.received_at', 'dossiers.received_at_is_date', 'policies') }} as received_is_date,
        {{ is_date_only('dossiers.result_at', 'dossiers.result_at_is_date', 'policies') }} as result_is_date
    from dossiers
    inner join policies
        on
            dossiers.judged_on >= policies.valid_from
            and (policies.valid_to is null or dossiers.judged_on < policies.valid_to)
    where dossiers.dossier_code in (select supplements.dossier_code from supplements)
),

{{ returns('asked', 'asked', ['dossier_code']) }},

told as (
    select
        judged.*,
        case
            when judged.is_open then judged.received_on
            else coalesce(judged.received_on, judged.result_on)
        end as entered_on,
        judged.is_result and not judged.is_open as has_result,
        coalesce(returns.return_count, 0) as return_count,
        coalesce(procedures.permitted_supplements, policies.b_permitted_default) as permitted_returns
    from judged
    left join policies on judged.policy_id = policies.policy_id
    left join returns on judged.dossier_code = returns.dossier_code
    left join procedures on judged.procedure_code = procedures.procedure_code
),

-- Nothing is overdue before it came in, or more would be overdue than open: without a receipt a dossier never was.
timed as (
    select
        told.*,
        greatest(told.entered_on, told.due_on) as due_after
    from told
)

select
    dossier_code::text as dossier_code,
    policy_id::text as policy_id,
    case when policy_id is null then resolving_unit_code else unit_code end::text as unit_code,
    status_code::text as status_code,
    outcome::text as outcome,
    has_result::boolean as is_result,
    is_test_record::boolean as is_test_record,
    result_on::date as result_on,
    first_result_batch_id::bigint as first_result_batch_id,
    entered_on::date as entered_on,
    -- Nobody says when a dossier was withdrawn or not accepted: it ends on the day of its receipt.
    case
        when is_open or outcome is null then null
        when outcome in ('resolved', 'stopped') and result_on is not null then greatest(received_on, result_on)
        else entered_on
    end::date as ended_on,
    case
        when policy_id is null or is_test_record or due_on is null then null
        when is_open and received_on is not null then due_after
        when has_result and coalesce(is_received_first, true) and due_after < result_on then due_after
    end::date as overdue_after,
    received_is_date::boolean as received_is_date,
    result_is_date::boolean as result_is_date,
    is_received_first::boolean as is_received_first,
    case
        when policy_id is null then null
        when due_is_date then due_on::timestamp at time zone '{{ var("timezone") }}'
        else recorded_due_at
    end::timestamptz as due_at,
    case when policy_id is not null then due_is_date end::boolean as due_is_date,
    case when policy_id is not null then due_on end::date as due_on,
    case
        when policy_id is null then null
        when recorded_due_at is not null then due_basis
        when due_on is not null then 'procedure'
    end::text as due_basis_used,
    is_late::boolean as is_late,
    working_days_late::integer as working_days_late,
    is_inherited_overdue::boolean as is_inherited_overdue,
    return_count::integer as return_count,
    permitted_returns::integer as permitted_returns
from timed
{{ written_by('result_on') }}
