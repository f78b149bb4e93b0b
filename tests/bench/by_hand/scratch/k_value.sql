-- Every index of theirs under every set of readings. A, B and C share what a result is, and must read it alike.
select
    windows.window_no,
    windows.group_no,
    index_readings.index_code,
    index_readings.set_code,
    index_readings.kind,
    index_readings.size,
    case when index_readings.index_code in ('A', 'B', 'C') then sets.result_statuses else '' end as result_statuses,
    case
        when index_readings.status <> 'scored' then 0
        else
            coalesce(
                case
                    when duties.is_quotient
                        then (index_readings.numerator)::numeric(60, 40) / nullif(index_readings.denominator, 0)
                end,
                index_readings.exact_value,
                index_readings.value
            )
    end as value,
    case
        when index_readings.status = 'scored' then 0
        else
            case index_readings.index_code
                when 'A' then policies.a_max
                when 'B' then policies.b_max
                when 'C' then policies.c_max
                when 'D' then policies.d_max
                when 'E' then policies.e_max
            end
    end as missing
from by_hand_scratch.k_window as windows
inner join by_hand_marts.index_reading as index_readings
    on windows.period_code = index_readings.period_code and windows.unit_code = index_readings.unit_code
inner join by_hand_core.dim_policy_parameter as policies on windows.policy_id = policies.policy_id
inner join rules.index_duty as duties on index_readings.index_code = duties.index_code
inner join by_hand_core.dim_reading_set as sets
    on
        windows.policy_id = sets.policy_id
        and index_readings.index_code = sets.index_code
        and index_readings.set_code = sets.set_code
