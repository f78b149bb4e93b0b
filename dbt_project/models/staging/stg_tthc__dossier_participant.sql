-- The units that take part, inside every version of an interlinked dossier.
select
    versions.record_key,
    versions.batch_id,
    versions.dossier_code,
    item.participant_no::integer as participant_no,
    item.content ->> 'participant_id' as participant_id,
    {{ target_of('tthc', 'unit', "item.content ->> 'unit_source_code'") }} as unit_code,
    {{ target_of('tthc', 'participant_role', "item.content ->> 'role_code'") }} as role_code,
    (item.content ->> 'received_at')::timestamptz as received_at,
    coalesce((item.content ->> 'received_at_is_date')::boolean, false) as received_at_is_date,
    (item.content ->> 'due_at')::timestamptz as due_at,
    coalesce((item.content ->> 'due_at_is_date')::boolean, false) as due_at_is_date,
    (item.content ->> 'finished_at')::timestamptz as finished_at,
    coalesce((item.content ->> 'finished_at_is_date')::boolean, false) as finished_at_is_date
from {{ source('raw', 'dossier') }} as versions
cross join lateral jsonb_array_elements(versions.participants) with ordinality as item (content, participant_no)
where
    {{ as_of('dossier', 'versions') }}
    and versions.op = 'upsert' and versions.is_interlinked
    and jsonb_typeof(versions.participants) = 'array'
    and versions.participants <> '[]'
