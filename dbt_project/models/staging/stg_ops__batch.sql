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
