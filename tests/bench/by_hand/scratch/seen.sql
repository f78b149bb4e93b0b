-- Results that a reading of their due date, their unit or their midnights may see otherwise, as the policy sees them.
with own as (
    select
        f.dossier_code,
        f.policy_id,
        f.unit_code,
        f.status_code,
        f.result_on,
        f.received_is_date,
        f.result_is_date,
        f.is_test_record,
        f.is_received_first,
        f.due_on,
        f.due_is_date,
        f.due_basis_used,
        f.is_late,
        f.working_days_late,
        f.is_inherited_overdue,
        f.return_count,
        f.permitted_returns,
        case
            when f.is_test_record then 'test_record'
            when not f.is_received_first then 'finish_before_receipt'
            when f.due_on is null then 'no_due_date'
        end as exclusion_reason
    from by_hand_facts.fct_dossier as f
    where f.is_result
    offset 0
)

select
    own.*,
    case
        when own.exclusion_reason is not null then null
        when not own.is_late then 'in_time'
        when own.working_days_late <= 5 then 'within_grace'
        else 'late'
    end as lateness,
    d.procedure_code,
    d.received_at,
    d.received_at_is_date,
    d.received_on,
    d.result_at,
    d.result_at_is_date,
    d.first_due_at,
    d.first_due_at_is_date,
    d.source_due_at,
    d.source_due_at_is_date,
    d.restart_due_at,
    d.restart_due_at_is_date,
    d.receiving_unit_code,
    d.receiving_unit_code is distinct from d.resolving_unit_code as has_two_units,
    d.restart_due_at is not null as has_restart,
    case when d.restart_due_at is not null then d.restart_due_at else d.first_due_at end as recorded_due_at,
    case when d.restart_due_at is not null then d.restart_due_at_is_date else d.first_due_at_is_date end
        as recorded_due_is_date
from own
inner join by_hand_core.core_dossier as d on own.dossier_code = d.dossier_code
where
    d.receiving_unit_code is distinct from d.resolving_unit_code
    or own.due_basis_used = 'procedure'
    or own.received_is_date <> d.received_at_is_date
    or own.result_is_date <> d.result_at_is_date
    or own.due_is_date
    or d.restart_due_at is not null
    or d.first_due_at is distinct from d.source_due_at
    or d.first_due_at_is_date is distinct from d.source_due_at_is_date
