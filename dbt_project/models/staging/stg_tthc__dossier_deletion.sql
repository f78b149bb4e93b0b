-- Dossiers whose newest version is a deletion.
select
    deletions.record_key,
    deletions.batch_id
from {{ source('raw', 'dossier') }} as deletions
where
    {{ as_of('dossier', 'deletions') }}
    and deletions.op = 'delete'
    and not exists (
        select 1 from {{ source('raw', 'dossier') }} as newer
        where
            {{ as_of('dossier', 'newer') }}
            and newer.record_key = deletions.record_key
            and newer.batch_id > deletions.batch_id
    )
