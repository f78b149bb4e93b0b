-- The supplement requests inside every version of a dossier; the number is the place in the source's list.
select
    versions.record_key,
    versions.batch_id,
    versions.dossier_code,
    item.supplement_no::integer as supplement_no,
    item.content ->> 'supplement_id' as supplement_id,
    (item.content ->> 'requested_at')::timestamptz as requested_at,
    coalesce((item.content ->> 'requested_at_is_date')::boolean, false) as requested_at_is_date,
    (item.content ->> 'received_at')::timestamptz as received_at,
    coalesce((item.content ->> 'received_at_is_date')::boolean, false) as received_at_is_date,
    {{ target_of('tthc', 'supplement_status', "item.content ->> 'status_code'") }} as status_code,
    (item.content ->> 'due_before_at')::timestamptz as due_before_at,
    coalesce((item.content ->> 'due_before_at_is_date')::boolean, false) as due_before_at_is_date,
    (item.content ->> 'due_after_at')::timestamptz as due_after_at,
    coalesce((item.content ->> 'due_after_at_is_date')::boolean, false) as due_after_at_is_date
from {{ source('raw', 'dossier') }} as versions
cross join lateral jsonb_array_elements(versions.supplements) with ordinality as item (content, supplement_no)
where
    {{ as_of('dossier', 'versions') }}
    and versions.op = 'upsert'
    and jsonb_typeof(versions.supplements) = 'array'
    and versions.supplements <> '[]'
