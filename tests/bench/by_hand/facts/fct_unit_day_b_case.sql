-- The policy's own cases, and what each reading adds to them and takes away.
with counted as (
    select
        unit_code,
        result_on,
        'own' as base_code,
        status_code,
        is_test_record or not coalesce(is_received_first, true) as is_excluded,
        return_count,
        permitted_returns,
        count(*) as dossiers
    from by_hand_facts.fct_dossier
    where is_result and unit_code is not null
    group by 1, 2, 3, 4, 5, 6, 7
    union all
    select
        unit_code,
        result_on,
        base_code,
        status_code,
        is_excluded,
        return_count,
        permitted_returns,
        count(*) as dossiers
    from by_hand_scratch.b_reading
    where unit_code is not null
    group by 1, 2, 3, 4, 5, 6, 7
    union all
    select
        own_unit_code,
        result_on,
        base_code,
        status_code,
        own_is_excluded,
        own_return_count,
        permitted_returns,
        -count(*) as dossiers
    from by_hand_scratch.b_reading
    where own_unit_code is not null
    group by 1, 2, 3, 4, 5, 6, 7
)

select
    unit_code,
    result_on as event_on,
    base_code,
    status_code,
    is_excluded,
    return_count,
    permitted_returns,
    sum(dossiers)::bigint as dossiers
from counted
group by unit_code, result_on, base_code, status_code, is_excluded, return_count, permitted_returns
having sum(dossiers) <> 0
