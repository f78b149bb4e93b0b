-- Grain: one row per day of the working-day calendar.
{{ config(unique_key='day') }}

with days as (
    select * from {{ ref('calendar_day') }}
)

select
    day::date as day,
    is_working_day::boolean as is_working_day,
    -- Working days from the calendar's first day to this one: the n-th after a day has that day's number + n.
    (count(*) filter (where is_working_day) over (order by day))::integer as working_day_number,
    -- A term that ends on a day off ends with the next working day (Civil Code, Art. 148).
    (min(day) filter (where is_working_day) over (order by day rows between current row and unbounded following))::date
        as term_ends_on
from days
