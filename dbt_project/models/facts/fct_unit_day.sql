-- Grain: one row per unit and day with an event of index A, B or C: their sums under the policy of the day.
{{ config(
    unique_key=['event_on', 'unit_code'],
    scope=in_touched_cells('held.unit_code', 'held.event_on', ['result', 'rating']),
    looks_up=true,
) }}

with policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

a_cases as (
    select * from {{ ref('fct_unit_day_a_case') }}
    where
        base_code = 'own'
        {%- if is_increment() %}
        and {{ in_touched_cells('unit_code', 'event_on', ['result', 'rating']) }}
        {%- endif %}
),

b_cases as (
    select * from {{ ref('fct_unit_day_b_case') }}
    where
        base_code = 'own'
        {%- if is_increment() %}
        and {{ in_touched_cells('unit_code', 'event_on', ['result', 'rating']) }}
        {%- endif %}
),

-- Which rating of a dossier is its last of the day may be seen in another unit's cell only.
c_cases as (
    select * from {{ ref('fct_unit_day_c_case') }}
    {%- if is_increment() %}
    where event_on = any(array({{ touched_days(['result', 'rating']) }}))
    {%- endif %}
),

a as (
    select
        a_cases.unit_code,
        a_cases.event_on,
        coalesce(sum(a_cases.dossiers * {{ a_point('a_cases.lateness', 'policies') }}), 0) as points,
        coalesce(sum(a_cases.dossiers) filter (where a_cases.lateness <> 'excluded'), 0) as dossiers,
        coalesce(sum(a_cases.dossiers) filter (where a_cases.lateness = 'excluded'), 0) as excluded
    from a_cases
    inner join policies
        on
            a_cases.event_on >= policies.valid_from
            and (policies.valid_to is null or a_cases.event_on < policies.valid_to)
    group by a_cases.unit_code, a_cases.event_on
),

b_judged as (
    select
        b_cases.unit_code,
        b_cases.event_on,
        b_cases.dossiers,
        b_cases.is_excluded,
        {{ b_is_left_out('b_cases', 'policies') }} as is_left_out,
        {{ b_point('b_cases', 'policies') }} as point
    from b_cases
    inner join policies
        on
            b_cases.event_on >= policies.valid_from
            and (policies.valid_to is null or b_cases.event_on < policies.valid_to)
),

b as (
    select
        unit_code,
        event_on,
        coalesce(sum(dossiers * point) filter (where not is_excluded and not is_left_out), 0) as points,
        coalesce(sum(dossiers) filter (where not is_excluded and not is_left_out), 0) as dossiers,
        coalesce(sum(dossiers) filter (where is_excluded or is_left_out), 0) as excluded,
        coalesce(sum(dossiers) filter (where not is_excluded and is_left_out), 0) as not_returned
    from b_judged
    group by unit_code, event_on
),

{{ attitude('policies') }},

c as (
    select * from c_days
    where
        unit_code <> ''
        {%- if is_increment() %}
        and {{ in_touched_cells('unit_code', 'event_on', ['result', 'rating']) }}
        {%- endif %}
)

select
    coalesce(a.unit_code, b.unit_code, c.unit_code)::text as unit_code,
    coalesce(a.event_on, b.event_on, c.event_on)::date as event_on,
    coalesce(a.points, 0)::numeric(18, 6) as a_points,
    coalesce(a.dossiers, 0)::bigint as a_dossiers,
    coalesce(a.excluded, 0)::bigint as a_excluded,
    coalesce(b.points, 0)::numeric(18, 6) as b_points,
    coalesce(b.dossiers, 0)::bigint as b_dossiers,
    coalesce(b.excluded, 0)::bigint as b_excluded,
    coalesce(b.not_returned, 0)::bigint as b_not_returned,
    coalesce(c.points, 0)::numeric(18, 6) as c_points,
    coalesce(c.ratings, 0)::bigint as c_ratings,
    coalesce(c.repeated, 0)::bigint as c_excluded
from a
full join b on a.unit_code = b.unit_code and a.event_on = b.event_on
full join c on coalesce(a.unit_code, b.unit_code) = c.unit_code and coalesce(a.event_on, b.event_on) = c.event_on
