-- The units that take part, inside the version in force of every interlinked dossier.
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
        item.participant_no::integer as participant_no,
        item.content
    from versions
    cross join lateral jsonb_array_elements(versions.participants) with ordinality as item (content, participant_no)
    where versions.op = 'upsert' and versions.is_interlinked and jsonb_typeof(versions.participants) = 'array'
)

select
    listed.record_key,
    listed.batch_id,
    listed.dossier_code,
    listed.participant_no,
    listed.content ->> 'participant_id' as participant_id,
    {{ target_of('unit', "listed.content ->> 'unit_source_code'") }} as unit_code,
    {{ target_of('participant_role', "listed.content ->> 'role_code'") }} as role_code,
    (listed.content ->> 'received_at')::timestamptz as received_at,
    coalesce((listed.content ->> 'received_at_is_date')::boolean, false) as received_at_is_date,
    (listed.content ->> 'due_at')::timestamptz as due_at,
    coalesce((listed.content ->> 'due_at_is_date')::boolean, false) as due_at_is_date,
    (listed.content ->> 'finished_at')::timestamptz as finished_at,
    coalesce((listed.content ->> 'finished_at_is_date')::boolean, false) as finished_at_is_date
from listed
