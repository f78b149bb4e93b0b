with batches as (
    select * from {{ source('ops', 'batch') }}
    where {{ as_of() }}
)

select
    batch_id,
    feed,
    loaded_at,
    window_start,
    window_end
from batches
