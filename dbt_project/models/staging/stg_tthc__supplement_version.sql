-- The supplement requests inside every version of a dossier; the number is the place in the source's list.
with versions as (
    select
        record_key,
        batch_id,
        dossier_code,
        supplements
    from {{ source('raw', 'dossier') }}
    where {{ as_of() }} and op = 'upsert' and jsonb_typeof(supplements) = 'array'
),

code as (
    {{ targets_by_code('tthc') }}
),

listed as (
    select
        versions.record_key,
        versions.batch_id,
        versions.dossier_code,
        item.supplement_no::integer as supplement_no,
        item.content
    from versions
    cross join lateral jsonb_array_elements(versions.supplements) with ordinality as item (content, supplement_no)
)

select
    listed.record_key,
    listed.batch_id,
    listed.dossier_code,
    listed.supplement_no,
    listed.content ->> 'supplement_id' as supplement_id,
    (listed.content ->> 'requested_at')::timestamptz as requested_at,
    coalesce((listed.content ->> 'requested_at_is_date')::boolean, false) as requested_at_is_date,
    (listed.content ->> 'received_at')::timestamptz as received_at,
    coalesce((listed.content ->> 'received_at_is_date')::boolean, false) as received_at_is_date,
    {{ target_of('supplement_status', "listed.content ->> 'status_code'") }} as status_code,
    (listed.content ->> 'due_before_at')::timestamptz as due_before_at,
    coalesce((listed.content ->> 'due_before_at_is_date')::boolean, false) as due_before_at_is_date,
    (listed.content ->> 'due_after_at')::timestamptz as due_after_at,
    coalesce((listed.content ->> 'due_after_at_is_date')::boolean, false) as due_after_at_is_date
from listed
