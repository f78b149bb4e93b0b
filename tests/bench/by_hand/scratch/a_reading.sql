-- What index A sees otherwise under a reading of it, with what it sees under the policy. Of the five readings three leave the due
-- date alone: another unit, no procedure's limit, midnights as moments. Only the two that take another recorded due date ask for
-- the calendar again.
with calendar as materialized (
    select
        min(day) - 1 as before,
        array_agg(working_day_number order by day) as numbers,
        array_agg(coalesce(term_ends_on, day) order by day) as ends,
        array_agg(day order by day) filter (where is_working_day) as working_days
    from by_hand_core.dim_calendar_day
),

seen as (
    select * from by_hand_scratch.seen
),

-- Another recorded due date, or none.
moved as (
    select
        seen.*,
        other.base_code,
        other.due_at as other_due_at,
        other.due_at at time zone 'Asia/Ho_Chi_Minh' as other_due,
        coalesce(
            other.is_date or (other.due_at at time zone 'Asia/Ho_Chi_Minh')::time = '00:00', false
        ) as other_is_date,
        case
            when other.due_at is not null then null
            when procedure.is_at_once and seen.received_is_date then 0
            when procedure.is_at_once
                then ((seen.received_at at time zone 'Asia/Ho_Chi_Minh')::time >= '15:00')::integer
            else procedure.limit_working_days
        end as limit_days
    from seen
    cross join lateral (
        select
            'due_basis=first' as base_code,
            seen.first_due_at as due_at,
            seen.first_due_at_is_date as is_date
        where seen.has_restart
        union all
        select
            'due_basis=source_current' as base_code,
            seen.source_due_at as due_at,
            seen.source_due_at_is_date as is_date
        where
            seen.source_due_at is distinct from seen.recorded_due_at
            or seen.source_due_at_is_date is distinct from seen.recorded_due_is_date
    ) as other
    left join by_hand_core.dim_procedure as procedure on seen.procedure_code = procedure.procedure_code
    offset 0
),

termed as (
    select
        moved.*,
        case
            when other_due_at is not null then other_due::date
            when limit_days = 0 then received_on
            else
                (select calendar.working_days from calendar)[
                    (select calendar.numbers from calendar)[
                        received_on - (select calendar.before from calendar)
                    ] + limit_days
                ]
        end as term_on
    from moved
    offset 0
),

rolled as (
    select
        termed.*,
        coalesce(
            (select calendar.ends from calendar)[
                term_on - (select calendar.before from calendar)
            ], term_on
        ) as other_due_on
    from termed
    offset 0
),

judged as (
    select
        rolled.*,
        other_due_at is null or other_is_date or coalesce(other_due_on <> term_on, false) as other_due_is_date
    from rolled
    offset 0
),

read as (
    select
        dossier_code,
        policy_id,
        status_code,
        result_on,
        unit_code as own_unit_code,
        is_inherited_overdue as own_is_inherited_overdue,
        exclusion_reason as own_exclusion_reason,
        lateness as own_lateness,
        base_code,
        unit_code,
        received_on,
        other_due_on as due_on,
        case
            when is_test_record then 'test_record'
            when not is_received_first then 'finish_before_receipt'
            when other_due_on is null then 'no_due_date'
        end as exclusion_reason,
        case
            when other_due_is_date or result_is_date then result_on > other_due_on
            else result_at > other_due_at
        end as is_late,
        (select calendar.numbers from calendar)[
            result_on - (select calendar.before from calendar)
        ] - coalesce(
            (select calendar.numbers from calendar)[
                other_due_on - (select calendar.before from calendar)
            ], 0
        ) as working_days_late
    from judged
    union all
    select
        seen.dossier_code,
        seen.policy_id,
        seen.status_code,
        seen.result_on,
        seen.unit_code,
        seen.is_inherited_overdue,
        seen.exclusion_reason,
        seen.lateness,
        other.*,
        seen.working_days_late
    from seen
    cross join lateral (
        select
            'attribution=receiving' as base_code,
            seen.receiving_unit_code as unit_code,
            seen.received_on,
            seen.due_on,
            seen.exclusion_reason,
            seen.is_late
        where seen.has_two_units
        union all
        select
            'due_missing=exclude' as base_code,
            seen.unit_code,
            seen.received_on,
            null as due_on,
            coalesce(seen.exclusion_reason, 'no_due_date') as exclusion_reason,
            null as is_late
        where seen.due_basis_used = 'procedure'
        union all
        select
            'midnight_is_date=false' as base_code,
            seen.unit_code,
            seen.received_on,
            seen.due_on,
            case
                when seen.is_test_record then 'test_record'
                when
                    case
                        when seen.received_at_is_date or seen.result_at_is_date then seen.received_on > seen.result_on
                        else seen.received_at > seen.result_at
                    end
                    then 'finish_before_receipt'
                when seen.due_on is null then 'no_due_date'
            end as exclusion_reason,
            case
                when
                    seen.result_at_is_date
                    or seen.recorded_due_at is null
                    or seen.recorded_due_is_date
                    or seen.due_on <> (seen.recorded_due_at at time zone 'Asia/Ho_Chi_Minh')::date
                    then seen.result_on > seen.due_on
                else seen.result_at > seen.recorded_due_at
            end as is_late
        where
            seen.received_is_date <> seen.received_at_is_date
            or seen.result_is_date <> seen.result_at_is_date
            or seen.due_is_date
    ) as other
),

compared as (
    select
        read.*,
        coalesce(
            unit.valid_from > read.received_on and unit.valid_from > read.due_on and unit.valid_from <= read.result_on, false
        ) as is_inherited_overdue,
        case
            when read.exclusion_reason is not null then null
            when not read.is_late then 'in_time'
            when read.working_days_late <= 5 then 'within_grace'
            else 'late'
        end as lateness
    from read
    left join by_hand_core.dim_unit as unit on read.unit_code = unit.unit_code
    offset 0
)

select
    dossier_code,
    base_code,
    policy_id,
    unit_code,
    own_unit_code,
    result_on,
    status_code,
    is_inherited_overdue,
    exclusion_reason,
    lateness,
    own_is_inherited_overdue,
    own_lateness
from compared
where
    (unit_code, is_inherited_overdue, exclusion_reason, lateness)
    is distinct from (own_unit_code, own_is_inherited_overdue, own_exclusion_reason, own_lateness)
