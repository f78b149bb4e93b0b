-- The policy's own cases, and what each reading adds to them and takes away.
with counted as (
    select
        unit_code,
        result_on,
        'own' as base_code,
        status_code,
        case
            when is_test_record or not is_received_first or due_on is null then 'excluded'
            when not is_late then 'in_time'
            when working_days_late <= 5 then 'within_grace'
            else 'late'
        end as lateness,
        is_inherited_overdue,
        count(*) as dossiers
    from by_hand_facts.fct_dossier
    where is_result and unit_code is not null
    group by 1, 2, 3, 4, 5, 6
    union all
    select
        unit_code,
        result_on,
        base_code,
        status_code,
        coalesce(lateness, 'excluded') as lateness,
        is_inherited_overdue,
        count(*) as dossiers
    from by_hand_scratch.a_reading
    where unit_code is not null
    group by 1, 2, 3, 4, 5, 6
    union all
    select
        own_unit_code,
        result_on,
        base_code,
        status_code,
        coalesce(own_lateness, 'excluded') as lateness,
        own_is_inherited_overdue,
        -count(*) as dossiers
    from by_hand_scratch.a_reading
    where own_unit_code is not null
    group by 1, 2, 3, 4, 5, 6
    union all
    select
        unit_code,
        result_on,
        base_code,
        status_code,
        coalesce(lateness, 'excluded') as lateness,
        is_inherited_overdue,
        count(*) as dossiers
    from by_hand_facts.fct_a_participant
    where unit_code is not null
    group by 1, 2, 3, 4, 5, 6
    union all
    select
        fct_dossier.unit_code,
        fct_dossier.result_on,
        steps.base_code,
        fct_dossier.status_code,
        case
            when is_test_record or not is_received_first or due_on is null then 'excluded'
            when not is_late then 'in_time'
            when working_days_late <= 5 then 'within_grace'
            else 'late'
        end as lateness,
        fct_dossier.is_inherited_overdue,
        -count(*) as dossiers
    from by_hand_facts.fct_a_participant as steps
    inner join by_hand_facts.fct_dossier on steps.dossier_code = fct_dossier.dossier_code
    where steps.is_for_dossier
    group by 1, 2, 3, 4, 5, 6
)

select
    unit_code,
    result_on as event_on,
    base_code,
    status_code,
    lateness,
    is_inherited_overdue,
    sum(dossiers)::bigint as dossiers
from counted
group by unit_code, result_on, base_code, status_code, lateness, is_inherited_overdue
having sum(dossiers) <> 0
