-- The calendar as lists: a day's place in them is its distance from the first one. In a table they would be compressed.
with calendar as materialized (
    select
        min(day) - 1 as before,
        array_agg(working_day_number order by day) as numbers,
        array_agg(coalesce(term_ends_on, day) order by day) as ends,
        array_agg(day order by day) filter (where is_working_day) as working_days
    from by_hand_core.dim_calendar_day
),

reached as (
    select (max(window_end) at time zone 'Asia/Ho_Chi_Minh')::date - 1 as last_day
    from by_hand_core.dim_batch
    where feed = 'dossier'
),

judged as (
    select
        d.*,
        status.outcome,
        coalesce(status.outcome = 'open', false) as is_open,
        policy.policy_id,
        procedure.is_at_once,
        procedure.limit_working_days,
        coalesce(procedure.permitted_supplements, policy.permitted_returns) as permitted_returns,
        d.received_at at time zone 'Asia/Ho_Chi_Minh' as received,
        d.result_at at time zone 'Asia/Ho_Chi_Minh' as resulted,
        case
            when policy.policy_id is null or d.restart_due_at is null then d.first_due_at else d.restart_due_at
        end as recorded_due_at,
        case
            when policy.policy_id is null or d.restart_due_at is null then d.first_due_at_is_date
            else d.restart_due_at_is_date
        end as recorded_due_is_date
    from by_hand_core.core_dossier as d
    cross join reached
    left join rules.dossier_status as status on d.status_code = status.status_code
    left join (
        select
            policy_id,
            valid_from,
            valid_to,
            1 as permitted_returns
        from rules.scoring_policy
    ) as policy
        on
            case when status.outcome = 'open' then reached.last_day else d.result_on end >= policy.valid_from
            and (
                policy.valid_to is null
                or case when status.outcome = 'open' then reached.last_day else d.result_on end < policy.valid_to
            )
    left join by_hand_core.dim_procedure as procedure on d.procedure_code = procedure.procedure_code
    offset 0
),

termed as (
    select
        judged.*,
        coalesce(received_at_is_date or (policy_id is not null and received::time = '00:00'), false) as received_is_date,
        coalesce(result_at_is_date or (policy_id is not null and resulted::time = '00:00'), false) as result_is_date,
        recorded_due_at at time zone 'Asia/Ho_Chi_Minh' as recorded_due,
        -- Without a recorded due date: the procedure's own limit, in working days after the day of receipt.
        case
            when recorded_due_at is not null then null
            when is_at_once and (received_at_is_date or (policy_id is not null and received::time = '00:00')) then 0
            when is_at_once then case when policy_id is not null then (received::time >= '15:00')::integer end
            else limit_working_days
        end as limit_days
    from judged
    offset 0
),

due as (
    select
        termed.*,
        case
            when recorded_due_at is not null then recorded_due::date
            when limit_days = 0 then received_on
            else
                (select calendar.working_days from calendar)[
                    (select calendar.numbers from calendar)[
                        received_on - (select calendar.before from calendar)
                    ] + limit_days
                ]
        end as term_on,
        recorded_due_at is null
        or coalesce(recorded_due_is_date or (policy_id is not null and recorded_due::time = '00:00'), false) as term_is_date
    from termed
    offset 0
),

-- A term that ends on a day off ends with the next working day.
ended as (
    select
        due.*,
        coalesce(
            (select calendar.ends from calendar)[
                term_on - (select calendar.before from calendar)
            ], term_on
        ) as due_on
    from due
    offset 0
),

rolled as (
    select
        ended.*,
        term_is_date or coalesce(due_on <> term_on, false) as due_is_date,
        case
            when received_is_date or result_is_date then received_on <= result_on
            else received_at <= result_at
        end as is_received_first,
        greatest(received_on, due_on) as due_after,
        coalesce(result_at is not null and policy_id is not null and status_code in ('8', '9', '10'), false) and not is_open
            as is_result
    from ended
    offset 0
)

select
    rolled.dossier_code,
    rolled.policy_id,
    rolled.resolving_unit_code as unit_code,
    rolled.status_code,
    rolled.outcome,
    rolled.is_result,
    rolled.is_test_record,
    rolled.result_on,
    rolled.first_result_batch_id,
    case when rolled.is_open then rolled.received_on else coalesce(rolled.received_on, rolled.result_on) end as entered_on,
    case
        when rolled.is_open or rolled.outcome is null then null
        when rolled.outcome in ('resolved', 'stopped') and rolled.result_on is not null
            then greatest(rolled.received_on, rolled.result_on)
        else coalesce(rolled.received_on, rolled.result_on)
    end as ended_on,
    case
        when rolled.policy_id is null or rolled.is_test_record or rolled.due_on is null then null
        when rolled.is_open and rolled.received_on is not null then rolled.due_after
        when rolled.is_result and coalesce(rolled.is_received_first, true) and rolled.due_after < rolled.result_on
            then rolled.due_after
    end as overdue_after,
    rolled.received_is_date,
    rolled.result_is_date,
    rolled.is_received_first,
    case
        when rolled.policy_id is null then null
        when rolled.due_is_date then rolled.due_on::timestamp at time zone 'Asia/Ho_Chi_Minh'
        else rolled.recorded_due_at
    end as due_at,
    case when rolled.policy_id is not null then rolled.due_is_date end as due_is_date,
    case when rolled.policy_id is not null then rolled.due_on end as due_on,
    case
        when rolled.policy_id is null then null
        when rolled.recorded_due_at is not null
            then case when rolled.restart_due_at is not null then 'supplement' else 'first' end
        when rolled.due_on is not null then 'procedure'
    end as due_basis_used,
    case
        when rolled.due_is_date or rolled.result_is_date then rolled.result_on > rolled.due_on
        else rolled.result_at > rolled.recorded_due_at
    end as is_late,
    (select calendar.numbers from calendar)[
        rolled.result_on - (select calendar.before from calendar)
    ] - coalesce(
        (select calendar.numbers from calendar)[
            rolled.due_on - (select calendar.before from calendar)
        ], 0
    ) as working_days_late,
    coalesce(
        rolled.policy_id is not null and unit.valid_from > rolled.received_on and unit.valid_from > rolled.due_on
        and unit.valid_from <= rolled.result_on, false
    ) as is_inherited_overdue,
    coalesce(returns.return_count, 0)::integer as return_count,
    rolled.permitted_returns
from rolled
left join by_hand_core.dim_unit as unit on rolled.resolving_unit_code = unit.unit_code
left join by_hand_scratch.returns on rolled.policy_id is not null and rolled.dossier_code = returns.dossier_code
