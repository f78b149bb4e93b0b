-- Who owes a K in which period, by number: numbers are compared and sorted many times faster than names.
select
    w.period_code,
    w.unit_code,
    w.policy_id,
    w.window_clipped is null as may_be_ranked,
    row_number() over (order by w.period_code, w.unit_code)::integer as window_no,
    dense_rank() over (order by w.period_code, unit.peer_group)::integer as group_no,
    policy.k_threshold,
    policy.rank_scale,
    policy.a_max + policy.b_max + policy.c_max + policy.d_max + policy.e_max as whole
from by_hand_core.core_unit_window as w
inner join by_hand_core.dim_unit as unit on w.unit_code = unit.unit_code
inner join by_hand_core.dim_policy_parameter as policy on w.policy_id = policy.policy_id
inner join rules.index_duty as duty on duty.index_code = 'K'
where
    not w.is_before_rule
    and not (w.is_sub_unit and not duty.owed_by_sub_unit)
    and not (w.is_receiving_only and not duty.owed_by_receiving_unit)
    and not w.is_too_short
