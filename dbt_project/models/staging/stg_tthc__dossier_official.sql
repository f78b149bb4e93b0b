-- Pseudonym of the official in charge in every version of a dossier that names one: for the restricted schema only.
with versions as (
    select * from {{ source('raw', 'dossier') }}
    where {{ as_of('dossier') }} and op = 'upsert' and official is not null
)

select
    record_key,
    batch_id,
    official
from versions
