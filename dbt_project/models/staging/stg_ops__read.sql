-- Batches that read all that changed in their window; a census reads keys only, a replay nothing new.
with batches as (
    select * from {{ source('ops', 'batch') }}
    where {{ as_of() }}
)

select
    batch_id,
    feed,
    window_start,
    window_end
from batches
where
    read_kind in ('window', 'snapshot', 'file')
    and window_start is not null
    and window_end is not null
