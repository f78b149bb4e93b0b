-- The steps inside every version of a dossier; the number is the place in the source's list.
select
    versions.record_key,
    versions.batch_id,
    versions.dossier_code,
    item.step_no::integer as step_no,
    item.content ->> 'step_id' as step_id,
    (item.content ->> 'processed_at')::timestamptz as processed_at,
    coalesce((item.content ->> 'processed_at_is_date')::boolean, false) as processed_at_is_date,
    item.content ->> 'department_name' as department_name,
    {{ target_of('tthc', 'dossier_status', "item.content ->> 'status_code'") }} as status_code,
    (item.content ->> 'limit_at')::timestamptz as limit_at,
    coalesce((item.content ->> 'limit_at_is_date')::boolean, false) as limit_at_is_date
from {{ source('raw', 'dossier') }} as versions
cross join lateral jsonb_array_elements(versions.steps) with ordinality as item (content, step_no)
where
    {{ as_of('dossier', 'versions') }}
    and versions.op = 'upsert'
    and jsonb_typeof(versions.steps) = 'array'
    and versions.steps <> '[]'
