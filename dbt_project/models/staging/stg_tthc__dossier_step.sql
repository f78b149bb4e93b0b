-- The steps inside the version in force of every dossier; the number is the place in the source's list.
with versions as (
    {{ version_in_force(source('raw', 'dossier')) }}
),

code as (
    {{ targets_by_code('tthc') }}
),

listed as (
    select
        versions.record_key,
        versions.batch_id,
        versions.dossier_code,
        {{ target_of('dossier_status', 'versions.status_code') }} as dossier_status_code,
        item.step_no::integer as step_no,
        item.content
    from versions
    cross join lateral jsonb_array_elements(versions.steps) with ordinality as item (content, step_no)
    where versions.op = 'upsert' and jsonb_typeof(versions.steps) = 'array'
)

select
    listed.record_key,
    listed.batch_id,
    listed.dossier_code,
    listed.dossier_status_code,
    listed.step_no,
    listed.content ->> 'step_id' as step_id,
    (listed.content ->> 'processed_at')::timestamptz as processed_at,
    coalesce((listed.content ->> 'processed_at_is_date')::boolean, false) as processed_at_is_date,
    listed.content ->> 'department_name' as department_name,
    {{ target_of('dossier_status', "listed.content ->> 'status_code'") }} as status_code,
    (listed.content ->> 'limit_at')::timestamptz as limit_at,
    coalesce((listed.content ->> 'limit_at_is_date')::boolean, false) as limit_at_is_date
from listed
