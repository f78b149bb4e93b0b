-- Dossiers whose newest version is a deletion.
with deletions as (
    select
        record_key,
        batch_id
    from {{ source('raw', 'dossier_sync') }}
    where {{ as_of() }} and op = 'delete'
),

versions as (
    select
        record_key,
        batch_id
    from {{ source('raw', 'dossier_sync') }}
    where {{ as_of() }}
)

select
    deletions.record_key,
    deletions.batch_id
from deletions
where
    not exists (
        select 1 from versions
        where versions.record_key = deletions.record_key and versions.batch_id > deletions.batch_id
    )
