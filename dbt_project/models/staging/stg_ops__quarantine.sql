-- The newest batch that put a version of each key into quarantine.
with rejected as (
    select * from {{ source('ops', 'quarantine') }}
    where {{ as_of() }} and record_key is not null
)

select
    feed,
    record_key,
    max(batch_id) as batch_id
from rejected
group by feed, record_key
