-- What each source's codes are to us.
select
    system,
    code_kind,
    source_code,
    target_code
from by_hand_staging.stg_register__code
where target_code is not null
