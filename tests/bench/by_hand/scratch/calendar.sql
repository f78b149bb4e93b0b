-- The calendar as lists: a day's place in them is its distance from the first one.
select
    min(day) - 1 as before,
    array_agg(working_day_number order by day) as numbers,
    array_agg(term_ends_on order by day) as ends,
    array_agg(day order by day) filter (where is_working_day) as working_days
from by_hand_core.dim_calendar_day
