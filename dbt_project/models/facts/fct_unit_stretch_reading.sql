-- Grain: one row per unit, stretch of days, index A, B or C and set of readings of it under which the stretch counts anything.
{{ config(
    unique_key=['stretch_start', 'unit_code', 'index_code', 'set_code'],
    scope=in_touched_stretches('facts.fct_unit_stretch_reading', ['result', 'rating']),
    looks_up=true,
) }}

with all_stretches as (
    select * from {{ ref('core_window_stretch') }}
    {%- if is_increment() %}
    where stretch_start in ({{ touched_stretches('facts.fct_unit_stretch_reading', ['result', 'rating']) }})
    {%- endif %}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

sets as (
    select * from {{ ref('dim_reading_set') }}
),

-- A window ends with its policy, so what windows are made of has one from its first day to its last.
stretches as (
    select
        all_stretches.stretch_start,
        all_stretches.stretch_end,
        policies.policy_id
    from all_stretches
    inner join policies
        on
            all_stretches.stretch_start >= policies.valid_from
            and (policies.valid_to is null or all_stretches.stretch_start < policies.valid_to)
),

-- Day by day: cases are looked up, and joined, by their day.
stretch_days as (
    select
        stretches.stretch_start,
        stretches.stretch_end,
        stretches.policy_id,
        days.day::date as day
    from stretches
    cross join lateral generate_series(
        stretches.stretch_start::timestamp, stretches.stretch_end::timestamp - interval '1 day', interval '1 day'
    ) as days (day)
),

a_cases as (
    select * from {{ ref('fct_unit_day_a_case') }}
    where
        lateness <> 'excluded'
        {%- if is_increment() %}
        and event_on = any(array(select stretch_days.day from stretch_days))
        {%- endif %}
),

b_cases as (
    select * from {{ ref('fct_unit_day_b_case') }}
    where
        not is_excluded
        {%- if is_increment() %}
        and event_on = any(array(select stretch_days.day from stretch_days))
        {%- endif %}
),

c_alone as (
    select * from {{ ref('fct_unit_day_c_case') }}
    where
        dossier_code = '' and unit_code <> ''
        {%- if is_increment() %}
        and event_on = any(array(select stretch_days.day from stretch_days))
        {%- endif %}
),

-- Days are summed by kind of case before these are read in every way.
a_sums as (
    select
        a_cases.unit_code,
        stretch_days.stretch_start,
        stretch_days.stretch_end,
        stretch_days.policy_id,
        a_cases.base_code,
        a_cases.status_code,
        a_cases.lateness,
        a_cases.is_inherited_overdue,
        sum(a_cases.dossiers) as dossiers
    from stretch_days
    inner join a_cases on stretch_days.day = a_cases.event_on
    group by
        a_cases.unit_code, stretch_days.stretch_start, stretch_days.stretch_end, stretch_days.policy_id,
        a_cases.base_code, a_cases.status_code, a_cases.lateness, a_cases.is_inherited_overdue
    having sum(a_cases.dossiers) <> 0
),

-- What is counted under a set: the policy's own cases, and what its base reading adds to them or takes away.
a as (
    select
        a_sums.unit_code,
        a_sums.stretch_start,
        a_sums.stretch_end,
        a_sums.policy_id,
        sets.index_code,
        sets.set_code,
        sum(a_sums.dossiers * {{ a_point('a_sums.lateness', 'sets') }}) as numerator,
        sum(a_sums.dossiers) as denominator,
        0 as left_out
    from a_sums
    inner join sets
        on
            a_sums.policy_id = sets.policy_id
            and sets.index_code = 'A'
            and a_sums.base_code in ('own', sets.base_code)
            and a_sums.status_code = any(string_to_array(sets.result_statuses, ','))
            and (sets.inherited_overdue = 'count' or not a_sums.is_inherited_overdue)
    group by
        a_sums.unit_code, a_sums.stretch_start, a_sums.stretch_end, a_sums.policy_id, sets.index_code, sets.set_code
),

b_sums as (
    select
        b_cases.unit_code,
        stretch_days.stretch_start,
        stretch_days.stretch_end,
        stretch_days.policy_id,
        b_cases.base_code,
        b_cases.status_code,
        b_cases.return_count,
        b_cases.permitted_returns,
        sum(b_cases.dossiers) as dossiers
    from stretch_days
    inner join b_cases on stretch_days.day = b_cases.event_on
    group by
        b_cases.unit_code, stretch_days.stretch_start, stretch_days.stretch_end, stretch_days.policy_id,
        b_cases.base_code, b_cases.status_code, b_cases.return_count, b_cases.permitted_returns
    having sum(b_cases.dossiers) <> 0
),

b_counted as (
    select
        b_sums.unit_code,
        b_sums.stretch_start,
        b_sums.stretch_end,
        b_sums.policy_id,
        sets.index_code,
        sets.set_code,
        b_sums.dossiers,
        {{ b_point('b_sums', 'sets') }} as point,
        {{ b_is_left_out('b_sums', 'sets') }} as is_left_out
    from b_sums
    inner join policies on b_sums.policy_id = policies.policy_id
    inner join sets
        on
            b_sums.policy_id = sets.policy_id
            and sets.index_code = 'B'
            and b_sums.base_code in ('own', sets.base_code)
            and b_sums.status_code = any(string_to_array(sets.result_statuses, ','))
),

b as (
    select
        unit_code,
        stretch_start,
        stretch_end,
        policy_id,
        index_code,
        set_code,
        coalesce(sum(dossiers * point) filter (where not is_left_out), 0) as numerator,
        coalesce(sum(dossiers) filter (where not is_left_out), 0) as denominator,
        coalesce(sum(dossiers) filter (where is_left_out), 0) as left_out
    from b_counted
    group by unit_code, stretch_start, stretch_end, policy_id, index_code, set_code
),

-- Most ratings stand alone.
c_sums as (
    select
        c_alone.unit_code,
        stretch_days.stretch_start,
        stretch_days.stretch_end,
        stretch_days.policy_id,
        c_alone.question_code,
        c_alone.is_city_system,
        c_alone.status_code,
        c_alone.level_class,
        sum(c_alone.ratings) as ratings
    from stretch_days
    inner join c_alone on stretch_days.day = c_alone.event_on
    group by
        c_alone.unit_code, stretch_days.stretch_start, stretch_days.stretch_end, stretch_days.policy_id,
        c_alone.question_code, c_alone.is_city_system, c_alone.status_code, c_alone.level_class
),

-- Of those of one dossier on one day, which is the last depends on which of them count, nobody's ratings too.
c_cases as (
    select * from {{ ref('fct_unit_day_c_case') }}
    where
        dossier_code <> ''
        {%- if is_increment() %}
        and event_on = any(array(select stretch_days.day from stretch_days))
        {%- endif %}
),

c_sets as (
    select * from sets
    where index_code = 'C'
),

{{ attitude('c_sets', also=['set_code']) }},

c_counts as (
    select
        c_sums.unit_code,
        c_sums.stretch_start,
        c_sums.stretch_end,
        c_sums.policy_id,
        c_sets.set_code,
        c_sums.ratings * {{ c_point('c_sums', 'c_sets') }} as points,
        c_sums.ratings
    from c_sums
    inner join c_sets on c_sums.policy_id = c_sets.policy_id
    where {{ c_is_counted('c_sums', 'c_sets') }}
    union all
    select
        c_days.unit_code,
        stretch_days.stretch_start,
        stretch_days.stretch_end,
        stretch_days.policy_id,
        c_days.set_code,
        c_days.points,
        c_days.ratings
    from stretch_days
    inner join c_days on stretch_days.policy_id = c_days.policy_id and stretch_days.day = c_days.event_on
    where c_days.unit_code <> ''
),

c as (
    select
        unit_code,
        stretch_start,
        stretch_end,
        policy_id,
        'C' as index_code,
        set_code,
        sum(points) as numerator,
        sum(ratings) as denominator,
        0 as left_out
    from c_counts
    group by unit_code, stretch_start, stretch_end, policy_id, set_code
),

counted as (
    select * from a
    union all
    select * from b
    union all
    select * from c
)

select
    unit_code::text as unit_code,
    stretch_start::date as stretch_start,
    stretch_end::date as stretch_end,
    policy_id::text as policy_id,
    index_code::text as index_code,
    set_code::text as set_code,
    trim_scale(numerator)::numeric as numerator,
    denominator::bigint as denominator,
    left_out::bigint as left_out
from counted
where numerator <> 0 or denominator <> 0 or left_out <> 0
