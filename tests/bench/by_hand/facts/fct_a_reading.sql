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
    lateness
from by_hand_scratch.a_reading
