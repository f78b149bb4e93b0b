-- Dossiers whose newest version is a deletion.
select
    deletions.record_key,
    deletions.batch_id
from {{ source('raw', 'dossier_sync') }} as deletions
where
    {{ as_of('dossier_sync', 'deletions') }}
    and deletions.op = 'delete'
    and not exists (
        select 1 from {{ source('raw', 'dossier_sync') }} as newer
        where
            {{ as_of('dossier_sync', 'newer') }}
            and newer.record_key = deletions.record_key
            and newer.batch_id > deletions.batch_id
    )
