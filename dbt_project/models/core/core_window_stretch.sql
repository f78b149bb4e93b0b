-- Grain: one row per stretch of days from one border of windows to the next: every window is made of whole ones.
{{ config(unique_key='stretch_start') }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

borders as (
    select window_start as border from windows
    union
    select window_end as border from windows
),

stretches as (
    select
        border as stretch_start,
        lead(border) over (order by border) as stretch_end
    from borders
)

select
    stretch_start::date as stretch_start,
    stretch_end::date as stretch_end
from stretches
where stretch_end is not null
