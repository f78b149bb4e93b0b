select
    dossier_code,
    base_code,
    policy_id,
    unit_code,
    own_unit_code,
    result_on,
    status_code,
    is_excluded,
    return_count,
    permitted_returns
from by_hand_scratch.b_reading
