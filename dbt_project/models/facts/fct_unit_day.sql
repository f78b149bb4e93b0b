-- Grain: one row per unit and day with an event of index A, B or C: their sums.
{{ config(unique_key=['unit_code', 'event_on']) }}

with a as (
    select
        unit_code,
        result_on as event_on,
        coalesce(sum(point), 0) as a_points,
        count(point) as a_dossiers,
        count(exclusion_reason) as a_excluded
    from {{ ref('fct_a_timeliness') }}
    where unit_code is not null
    group by unit_code, result_on
),

b as (
    select
        unit_code,
        result_on as event_on,
        coalesce(sum(point), 0) as b_points,
        count(point) as b_dossiers,
        count(exclusion_reason) as b_excluded,
        count(*) filter (where exclusion_reason = 'not_returned') as b_not_returned
    from {{ ref('fct_b_guidance') }}
    where unit_code is not null
    group by unit_code, result_on
),

c as (
    select
        unit_code,
        rated_on as event_on,
        coalesce(sum(point), 0) as c_points,
        count(point) as c_ratings,
        count(exclusion_reason) as c_excluded
    from {{ ref('fct_c_attitude') }}
    where unit_code is not null
    group by unit_code, rated_on
)

select
    coalesce(a.unit_code, b.unit_code, c.unit_code)::text as unit_code,
    coalesce(a.event_on, b.event_on, c.event_on)::date as event_on,
    coalesce(a.a_points, 0)::numeric(18, 6) as a_points,
    coalesce(a.a_dossiers, 0)::bigint as a_dossiers,
    coalesce(a.a_excluded, 0)::bigint as a_excluded,
    coalesce(b.b_points, 0)::numeric(18, 6) as b_points,
    coalesce(b.b_dossiers, 0)::bigint as b_dossiers,
    coalesce(b.b_excluded, 0)::bigint as b_excluded,
    coalesce(b.b_not_returned, 0)::bigint as b_not_returned,
    coalesce(c.c_points, 0)::numeric(18, 6) as c_points,
    coalesce(c.c_ratings, 0)::bigint as c_ratings,
    coalesce(c.c_excluded, 0)::bigint as c_excluded
from a
full join b on a.unit_code = b.unit_code and a.event_on = b.event_on
full join c on coalesce(a.unit_code, b.unit_code) = c.unit_code and coalesce(a.event_on, b.event_on) = c.event_on
