-- Grain: one row per period, scope, whole or clipped windows, and measure: sums over units, never means, and no K of its own.
{{ config(alias='rollup', unique_key=['period_code', 'scope_kind', 'scope_code', 'part', 'measure']) }}

{%- set statuses = ['before_rule', 'not_applicable', 'incomplete', 'scored'] %}
{%- set verdicts = ['satisfied', 'not_satisfied', 'undetermined'] %}
{%- set quartiles = [('k_q1', '0.25'), ('k_median', '0.5'), ('k_q3', '0.75')] %}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

periods as (
    select * from {{ ref('dim_period') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

notes as (
    select * from {{ ref('mart_unit_note') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
),

totals as (
    select * from {{ ref('mart_k_score') }}
),

city_scores as (
    select * from {{ ref('core_portal_city_score') }}
),

-- Everything about one unit and period in one entry.
measured as (
    select
        indices.period_code,
        indices.unit_code,
        {%- for index in ['a', 'b', 'c'] %}
        max(indices.numerator) filter (where indices.index_code = '{{ index | upper }}') as {{ index }}_numerator,
        max(indices.denominator) filter (where indices.index_code = '{{ index | upper }}') as {{ index }}_denominator,
        count(*) filter (where indices.index_code = '{{ index | upper }}' and indices.status = 'scored')
            as {{ index }}_units,
        {%- endfor %}
        sum(indices.value) filter (where indices.index_code = 'E') as e_numerator,
        count(indices.value) filter (where indices.index_code = 'E') as e_denominator
    from indices
    group by indices.period_code, indices.unit_code
),

members as (
    select
        measured.*,
        case when windows.window_clipped is null then 'whole' else 'clipped' end as part,
        units.peer_group,
        units.parent_unit_code,
        notes.volume_class,
        totals.k,
        totals.verdict,
        totals.status
    from windows
    inner join units on windows.unit_code = units.unit_code
    inner join measured on windows.period_code = measured.period_code and windows.unit_code = measured.unit_code
    inner join totals on windows.period_code = totals.period_code and windows.unit_code = totals.unit_code
    inner join notes on windows.period_code = notes.period_code and windows.unit_code = notes.unit_code
),

-- Units with parts of their own: the unit and its parts are looked at together.
parents as (
    select distinct
        period_code,
        parent_unit_code
    from members
    where parent_unit_code is not null
),

scoped as (
    select
        'city' as scope_kind,
        'city' as scope_code,
        members.*
    from members
    union all
    select
        'peer_group' as scope_kind,
        members.peer_group as scope_code,
        members.*
    from members
    union all
    select
        'volume_class' as scope_kind,
        members.volume_class as scope_code,
        members.*
    from members
    where members.volume_class is not null
    union all
    select
        'parent' as scope_kind,
        parents.parent_unit_code as scope_code,
        members.*
    from members
    inner join parents
        on
            members.period_code = parents.period_code
            and parents.parent_unit_code = coalesce(members.parent_unit_code, members.unit_code)
),

sums as (
    select
        {%- for index in ['a', 'b', 'c'] %}
        coalesce(sum({{ index }}_numerator), 0) as {{ index }}_numerator,
        coalesce(sum({{ index }}_denominator), 0) as {{ index }}_denominator,
        sum({{ index }}_units) as {{ index }}_units,
        {%- endfor %}
        coalesce(sum(e_numerator), 0) as e_numerator,
        sum(e_denominator) as e_denominator,
        {%- for status in statuses %}
        count(*) filter (where status = '{{ status }}') as status_{{ status }},
        {%- endfor %}
        {%- for verdict in verdicts %}
        count(*) filter (where verdict = '{{ verdict }}') as verdict_{{ verdict }},
        {%- endfor %}
        -- The K of a unit that is there, not one between two.
        {%- for measure, share in quartiles %}
        percentile_disc({{ share }}) within group (order by k) as {{ measure }},
        {%- endfor %}
        count(k) as k_units,
        count(*) as units,
        period_code,
        scope_kind,
        scope_code,
        part
    from scoped
    group by period_code, scope_kind, scope_code, part
),

listed as (
    select
        sums.period_code,
        sums.scope_kind,
        sums.scope_code,
        sums.part,
        entry.measure,
        entry.numerator,
        entry.denominator,
        coalesce(entry.value, {{ quotient('entry.numerator', 'entry.denominator') }}) as value,
        entry.units
    from sums
    cross join lateral (
        values
        ('A', sums.a_numerator, sums.a_denominator, null::numeric, sums.a_units),
        ('B', sums.b_numerator, sums.b_denominator, null::numeric, sums.b_units),
        ('C', sums.c_numerator, sums.c_denominator, null::numeric, sums.c_units),
        ('E', sums.e_numerator, sums.e_denominator, null, sums.e_denominator),
        ('status_before_rule', sums.status_before_rule, sums.units, null, sums.units),
        ('status_not_applicable', sums.status_not_applicable, sums.units, null, sums.units),
        ('status_incomplete', sums.status_incomplete, sums.units, null, sums.units),
        ('status_scored', sums.status_scored, sums.units, null, sums.units),
        ('verdict_satisfied', sums.verdict_satisfied, sums.k_units, null, sums.k_units),
        ('verdict_not_satisfied', sums.verdict_not_satisfied, sums.k_units, null, sums.k_units),
        ('verdict_undetermined', sums.verdict_undetermined, sums.k_units, null, sums.k_units),
        ('k_q1', null, null, sums.k_q1, sums.k_units),
        ('k_median', null, null, sums.k_median, sums.k_units),
        ('k_q3', null, null, sums.k_q3, sums.k_units)
    ) as entry (measure, numerator, denominator, value, units)
),

-- D is no sum of its units: the portal has a row of its own for the city.
d as (
    select
        periods.period_code,
        'city' as scope_kind,
        'city' as scope_code,
        'whole' as part,
        'D' as measure,
        city_scores.total_score as numerator,
        city_scores.total_max_score as denominator,
        city_scores.total_score as value,
        null::bigint as units
    from periods
    left join city_scores
        on periods.period_start = city_scores.window_from and periods.period_end = city_scores.window_to + 1
),

measures as (
    select * from listed
    union all
    select * from d
)

select
    period_code::text as period_code,
    scope_kind::text as scope_kind,
    scope_code::text as scope_code,
    part::text as part,
    measure::text as measure,
    trim_scale(numerator)::numeric as numerator,
    denominator::numeric as denominator,
    round(value, 15)::numeric(20, 15) as value,
    units::bigint as units
from measures
