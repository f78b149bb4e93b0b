select
    n.dossier_code,
    item.supplement_no::integer as supplement_no,
    item.content ->> 'supplement_id' as supplement_id,
    code.target_code as status_code,
    coalesce(status.is_return, true) as is_return,
    (item.content ->> 'requested_at')::timestamptz as requested_at,
    coalesce((item.content ->> 'requested_at_is_date')::boolean, false) as requested_at_is_date,
    (item.content ->> 'received_at')::timestamptz as received_at,
    coalesce((item.content ->> 'received_at_is_date')::boolean, false) as received_at_is_date,
    (item.content ->> 'due_before_at')::timestamptz as due_before_at,
    (item.content ->> 'due_after_at')::timestamptz as due_after_at
from by_hand_scratch.newest as n
cross join lateral jsonb_array_elements(n.supplements) with ordinality as item (content, supplement_no)
left join by_hand_scratch.code
    on
        code.system = 'tthc' and code.code_kind = 'supplement_status'
        and code.source_code = item.content ->> 'status_code'
left join rules.supplement_status as status on code.target_code = status.status_code
where n.op = 'upsert' and n.supplements is not null
