select
    n.dossier_code,
    item.participant_no::integer as participant_no,
    item.content ->> 'participant_id' as participant_id,
    unit.unit_code,
    role.target_code as role_code,
    (item.content ->> 'received_at')::timestamptz as received_at,
    coalesce((item.content ->> 'received_at_is_date')::boolean, false) as received_at_is_date,
    (item.content ->> 'due_at')::timestamptz as due_at,
    coalesce((item.content ->> 'due_at_is_date')::boolean, false) as due_at_is_date,
    (item.content ->> 'finished_at')::timestamptz as finished_at,
    coalesce((item.content ->> 'finished_at_is_date')::boolean, false) as finished_at_is_date
from by_hand_scratch.newest as n
cross join lateral jsonb_array_elements(n.participants) with ordinality as item (content, participant_no)
left join by_hand_scratch.code
    on code.system = 'tthc' and code.code_kind = 'unit' and code.source_code = item.content ->> 'unit_source_code'
left join by_hand_core.dim_unit as unit on code.target_code = unit.unit_code
left join by_hand_scratch.code as role
    on role.system = 'tthc' and role.code_kind = 'participant_role' and role.source_code = item.content ->> 'role_code'
where n.op = 'upsert' and n.participants is not null
