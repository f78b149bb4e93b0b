-- Grain: one row per feed and stretch of time of which every change was read, without a gap.
{{ config(unique_key=['feed', 'read_from']) }}

with reads as (
    select * from {{ ref('stg_ops__read') }}
),

-- A read that begins after everything before it had ended leaves a gap.
reached as (
    select
        feed,
        window_start,
        window_end,
        max(window_end) over (
            partition by feed order by window_start, window_end, batch_id
            rows between unbounded preceding and 1 preceding
        ) as reached_before,
        batch_id
    from reads
),

numbered as (
    select
        feed,
        window_start,
        window_end,
        count(*) filter (where reached_before is null or window_start > reached_before) over (
            partition by feed order by window_start, window_end, batch_id
        ) as span
    from reached
)

select
    feed::text as feed,
    min(window_start)::timestamptz as read_from,
    max(window_end)::timestamptz as read_until
from numbered
group by feed, span
