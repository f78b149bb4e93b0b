-- Grain: one row per loaded batch.
{{ config(unique_key='batch_id') }}

with batches as (
    select * from {{ ref('stg_ops__batch') }}
)

select
    batch_id::bigint as batch_id,
    feed::text as feed,
    loaded_at::timestamptz as loaded_at,
    {{ local_date('loaded_at') }} as loaded_on,
    window_start::timestamptz as window_start,
    window_end::timestamptz as window_end
from batches
