-- What index B sees otherwise under a reading of it, with what it sees under the policy. Where midnights are moments, only the
-- order of receipt, requests and result may change.
with changed as (
    select dossier_code
    from by_hand_scratch.seen
    where
        not is_test_record
        and coalesce(is_received_first, true) <> coalesce(
            case
                when received_at_is_date or result_at_is_date then received_on <= result_on
                else received_at <= result_at
            end, true
        )
    union
    select dossier_code from by_hand_scratch.returns
    where return_count <> return_count_by_the_clock
),

by_the_clock as (
    select
        f.*,
        f.is_test_record
        or not coalesce(
            case
                when d.received_at_is_date or d.result_at_is_date then d.received_on <= d.result_on
                else d.received_at <= d.result_at
            end, true
        ) as is_excluded,
        coalesce(returns.return_count_by_the_clock, 0)::integer as return_count_by_the_clock
    from changed
    inner join by_hand_facts.fct_dossier as f on changed.dossier_code = f.dossier_code
    inner join by_hand_core.core_dossier as d on changed.dossier_code = d.dossier_code
    left join by_hand_scratch.returns on changed.dossier_code = returns.dossier_code
    where f.is_result
)

select
    dossier_code,
    'attribution=receiving' as base_code,
    policy_id,
    receiving_unit_code as unit_code,
    unit_code as own_unit_code,
    result_on,
    status_code,
    is_test_record or not coalesce(is_received_first, true) as is_excluded,
    return_count,
    permitted_returns,
    is_test_record or not coalesce(is_received_first, true) as own_is_excluded,
    return_count as own_return_count
from by_hand_scratch.seen
where has_two_units
union all
select
    dossier_code,
    'midnight_is_date=false' as base_code,
    policy_id,
    unit_code,
    unit_code as own_unit_code,
    result_on,
    status_code,
    is_excluded,
    return_count_by_the_clock as return_count,
    permitted_returns,
    is_test_record or not coalesce(is_received_first, true) as own_is_excluded,
    return_count as own_return_count
from by_the_clock
where
    is_excluded <> (is_test_record or not coalesce(is_received_first, true))
    or return_count_by_the_clock <> return_count
