-- Grain: one row per period, unit and index (K too): its value, and how that changed since the previous period and the year before.
{{ config(alias='trend', unique_key=['period_code', 'unit_code', 'index_code']) }}

{%- set comparisons = ['previous', 'year_before'] %}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

periods as (
    select * from {{ ref('dim_period') }}
),

territories as (
    select * from {{ ref('core_unit_territory') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

duties as (
    select * from {{ ref('index_duty') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
),

totals as (
    select * from {{ ref('mart_k_score') }}
),

petitions as (
    select * from {{ ref('fct_d_petitions') }}
),

parameters as (
    select max(value::numeric) filter (where parameter = 'interval_z') as interval_z
    from {{ ref('trend_parameter') }}
),

maxima as (
    select
        policies.policy_id,
        maximum.index_code,
        maximum.value
    from policies
    cross join lateral (
        values
        ('A', policies.a_max),
        ('B', policies.b_max),
        ('C', policies.c_max),
        ('D', policies.d_max),
        ('E', policies.e_max)
    ) as maximum (index_code, value)
),

-- What one petition (both metrics together) or one rated dossier would add to D, or take away; unknown where the portal does
-- not tell what its metrics count.
metric_steps as (
    select
        petitions.period_code,
        petitions.unit_code,
        petitions.metric_version,
        petitions.petition_weight * (
            {{ metric_step(petition_score, 'petitions.on_time', 'policies', true) }}
            + {{ metric_step(petition_score, 'petitions.handling', 'policies', true) }}
        ) as petition_up,
        case
            when policies.d_definition <> 'portal_group' then 0
            else {{ metric_step(dossier_score, 'petitions.dossier', 'policies', true) }}
        end as dossier_up,
        petitions.petition_weight * (
            {{ metric_step(petition_score, 'petitions.on_time', 'policies', false) }}
            + {{ metric_step(petition_score, 'petitions.handling', 'policies', false) }}
        ) as petition_down,
        case
            when policies.d_definition <> 'portal_group' then 0
            else {{ metric_step(dossier_score, 'petitions.dossier', 'policies', false) }}
        end as dossier_down
    from petitions
    inner join policies on petitions.policy_id = policies.policy_id
),

petition_steps as (
    select
        period_code,
        unit_code,
        metric_version,
        -- The greater of the two, and nothing when one of them is unknown.
        case when petition_up >= dossier_up then petition_up when petition_up < dossier_up then dossier_up end as up,
        case
            when petition_down <= dossier_down then petition_down
            when petition_down > dossier_down then dossier_down
        end as down
    from metric_steps
),

-- Each index that is scored, and what it would be by one case at its best and at its worst. E counts no cases.
cases as (
    select
        indices.period_code,
        indices.unit_code,
        indices.policy_id,
        indices.index_code,
        {{ quotient('indices.numerator', 'indices.denominator') }} as quotient,
        indices.value,
        case
            when duties.is_quotient then {{ one_case_better('indices.numerator', 'indices.denominator') }}
            when indices.index_code = 'D' then indices.value + petition_steps.up
        end as best,
        case
            when duties.is_quotient then {{ one_case_worse('indices.numerator', 'indices.denominator') }}
            when indices.index_code = 'D' then indices.value + petition_steps.down
        end as worst,
        duties.is_quotient,
        case when indices.index_code = 'D' then petition_steps.metric_version end as metric_version
    from indices
    inner join duties on indices.index_code = duties.index_code
    left join petition_steps
        on indices.period_code = petition_steps.period_code and indices.unit_code = petition_steps.unit_code
    where indices.status = 'scored'
),

exact as (
    select
        cases.*,
        case when cases.is_quotient then coalesce(cases.quotient, cases.value) else cases.value end as exact_value
    from cases
),

-- K by one case: a dossier moves A and B, a rating C, a petition or a rated dossier D.
k_parts as (
    select
        exact.period_code,
        exact.unit_code,
        exact.policy_id,
        string_agg(exact.index_code, ',' order by exact.index_code) as scored_indices,
        max(exact.metric_version) as metric_version,
        sum(exact.exact_value) as present,
        sum(maxima.value) as present_maximum,
        bool_or(exact.index_code = 'D' and (exact.best is null or exact.worst is null)) as is_d_untold,
        coalesce(sum(exact.best - exact.exact_value) filter (where exact.index_code in ('A', 'B')), 0) as dossier_up,
        coalesce(sum(exact.best - exact.exact_value) filter (where exact.index_code = 'C'), 0) as rating_up,
        coalesce(sum(exact.best - exact.exact_value) filter (where exact.index_code = 'D'), 0) as petition_up,
        coalesce(sum(exact.worst - exact.exact_value) filter (where exact.index_code in ('A', 'B')), 0) as dossier_down,
        coalesce(sum(exact.worst - exact.exact_value) filter (where exact.index_code = 'C'), 0) as rating_down,
        coalesce(sum(exact.worst - exact.exact_value) filter (where exact.index_code = 'D'), 0) as petition_down
    from exact
    inner join maxima on exact.policy_id = maxima.policy_id and exact.index_code = maxima.index_code
    group by exact.period_code, exact.unit_code, exact.policy_id
),

wholes as (
    select
        policy_id,
        sum(value) as whole
    from maxima
    group by policy_id
),

-- Where a missing index counts nought, K may rest on none at all.
k_told as (
    select
        totals.period_code,
        totals.unit_code,
        totals.policy_id,
        totals.k,
        coalesce(k_parts.scored_indices, '') as scored_indices,
        k_parts.metric_version,
        coalesce(k_parts.present, 0) as present,
        coalesce(k_parts.present_maximum, 0) as present_maximum,
        not coalesce(k_parts.is_d_untold, false) as is_told,
        greatest(k_parts.dossier_up, k_parts.rating_up, k_parts.petition_up, 0) as up,
        least(k_parts.dossier_down, k_parts.rating_down, k_parts.petition_down, 0) as down
    from totals
    left join k_parts on totals.period_code = k_parts.period_code and totals.unit_code = k_parts.unit_code
    where totals.status = 'scored'
),

k_cases as (
    select
        k_told.period_code,
        k_told.unit_code,
        k_told.k as exact_value,
        k_told.scored_indices,
        k_told.metric_version,
        policies.k_scale,
        case when k_told.is_told then k_told.present + k_told.up end as best,
        case when k_told.is_told then k_told.present + k_told.down end as worst,
        case
            when k_told.present_maximum = wholes.whole or policies.missing_index = 'zero' then 1
            else {{ quotient('wholes.whole', 'k_told.present_maximum') }}
        end as stretch
    from k_told
    inner join policies on k_told.policy_id = policies.policy_id
    inner join wholes on policies.policy_id = wholes.policy_id
),

scores as (
    select
        indices.period_code,
        indices.unit_code,
        indices.index_code,
        indices.numerator,
        indices.denominator,
        indices.value,
        indices.status,
        indices.policy_id,
        round(exact.exact_value, 30) as exact_value,
        round(exact.best, 30) as best,
        round(exact.worst, 30) as worst,
        exact.metric_version,
        null as scored_indices,
        null::numeric as e,
        exact.is_quotient and indices.denominator > 0 as has_interval
    from indices
    left join exact
        on
            indices.period_code = exact.period_code
            and indices.unit_code = exact.unit_code
            and indices.index_code = exact.index_code
    union all
    select
        totals.period_code,
        totals.unit_code,
        'K' as index_code,
        null as numerator,
        null as denominator,
        totals.k as value,
        totals.status,
        totals.policy_id,
        k_cases.exact_value,
        {{ round_k('k_cases.best * k_cases.stretch', 'k_cases') }} as best,
        {{ round_k('k_cases.worst * k_cases.stretch', 'k_cases') }} as worst,
        k_cases.metric_version,
        k_cases.scored_indices,
        totals.e,
        false as has_interval
    from totals
    left join k_cases on totals.period_code = k_cases.period_code and totals.unit_code = k_cases.unit_code
),

-- The period before of the same kind, and the one of the same name a year before: what changes in a period changes the trend
-- of the next one and of the one a year later too.
named as (
    select
        periods.*,
        lag(periods.period_code) over (partition by periods.period_kind order by periods.period_start) as previous_code,
        regexp_replace(
            periods.period_code, '^[0-9]+', (substring(periods.period_code from '^[0-9]+')::integer - 1)::text
        ) as year_before_code
    from periods
),

asked as (
    select
        named.*,
        kind.comparison,
        kind.earlier_code
    from named
    cross join lateral (
        values
        ('previous', named.previous_code),
        ('year_before', named.year_before_code)
    ) as kind (comparison, earlier_code)
),

comparisons as (
    select
        asked.period_code,
        asked.comparison,
        earlier.period_code as earlier_period_code,
        earlier.period_start as earlier_start,
        asked.calendar_code <> earlier.calendar_code as is_other_calendar
    from asked
    left join periods as earlier
        on
            asked.earlier_code = earlier.period_code
            -- A period that is missing in between is not skipped.
            and (
                asked.comparison <> 'previous'
                or asked.calendar_code <> earlier.calendar_code
                or asked.period_start = earlier.period_end
            )
),

-- Without a territory: it changed inside the window.
placed as (
    select
        windows.period_code,
        windows.unit_code,
        windows.window_end,
        windows.window_clipped,
        windows.policy_id,
        territories.territory_code,
        territories.territory_from,
        territories.begins_by_succession
    from windows
    left join territories
        on
            windows.unit_code = territories.unit_code
            and windows.window_start >= territories.valid_from
            and (territories.valid_to is null or windows.window_end <= territories.valid_to)
),

-- The unit itself, or who held the same territory before it.
paired as (
    select distinct on (placed.period_code, placed.unit_code, comparisons.comparison)
        placed.period_code,
        placed.unit_code,
        placed.window_clipped,
        placed.policy_id,
        comparisons.comparison,
        comparisons.earlier_period_code,
        comparisons.is_other_calendar,
        placed.territory_code is null
        or (placed.begins_by_succession and placed.territory_from > comparisons.earlier_start) as is_reshaped,
        earlier.unit_code as earlier_unit_code,
        earlier.window_clipped as earlier_clipped,
        earlier.policy_id as earlier_policy_id
    from placed
    inner join comparisons on placed.period_code = comparisons.period_code
    left join placed as earlier
        on
            comparisons.earlier_period_code = earlier.period_code
            and placed.territory_code = earlier.territory_code
    order by
        placed.period_code,
        placed.unit_code,
        comparisons.comparison,
        earlier.unit_code = placed.unit_code desc,
        earlier.window_end desc,
        earlier.unit_code collate "C" -- noqa: RF02
),

judged as (
    select
        scores.index_code,
        scores.value,
        scores.exact_value,
        scores.best,
        scores.worst,
        scores.e,
        paired.*,
        earlier.numerator as earlier_numerator,
        earlier.denominator as earlier_denominator,
        earlier.value as earlier_value,
        earlier.exact_value as earlier_exact,
        earlier.best as earlier_best,
        earlier.worst as earlier_worst,
        earlier.e as earlier_e,
        case
            when scores.status <> 'scored' then 'not_scored'
            when paired.window_clipped is not null then 'clipped'
            when paired.earlier_period_code is null then 'no_earlier_period'
            when paired.is_other_calendar then 'calendar_changed'
            when paired.earlier_unit_code is null and paired.is_reshaped then 'succession_broken'
            when paired.earlier_unit_code is null then 'no_earlier_row'
            when paired.earlier_policy_id <> paired.policy_id then 'policy_changed'
            when earlier.status <> 'scored' then 'earlier_not_scored'
            when paired.earlier_clipped is not null then 'earlier_clipped'
            when scores.metric_version <> earlier.metric_version then 'metric_version_changed'
            when scores.scored_indices <> earlier.scored_indices then 'indices_differ'
        end as stopped_by
    from scores
    inner join paired on scores.period_code = paired.period_code and scores.unit_code = paired.unit_code
    left join scores as earlier
        on
            paired.earlier_period_code = earlier.period_code
            and paired.earlier_unit_code = earlier.unit_code
            and scores.index_code = earlier.index_code
),

-- One case on either side is enough: this value by its best reaches the earlier one, or the earlier one falls to this. A posting
-- is no case: where it changed, none explains K.
compared as (
    select
        judged.*,
        case
            when judged.stopped_by is not null then null
            when judged.value = judged.earlier_value then true
            when judged.e <> judged.earlier_e then false
            when judged.value < judged.earlier_value
                then judged.best >= judged.earlier_exact or judged.earlier_worst <= judged.exact_value
            else judged.worst <= judged.earlier_exact or judged.earlier_best >= judged.exact_value
        end as within_one_case
    from judged
)

select
    scores.period_code::text as period_code,
    scores.unit_code::text as unit_code,
    scores.index_code::text as index_code,
    scores.numerator::numeric as numerator,
    scores.denominator::numeric as denominator,
    scores.value::numeric(20, 15) as value,
    scores.status::text as status,
    {% for name in comparisons %}
    {{ name }}.earlier_period_code::text as {{ name }}_period_code,
    {{ name }}.earlier_unit_code::text as {{ name }}_unit_code,
    case when {{ name }}.stopped_by is null then {{ name }}.earlier_numerator end::numeric as {{ name }}_numerator,
    case when {{ name }}.stopped_by is null then {{ name }}.earlier_denominator end::numeric as {{ name }}_denominator,
    case when {{ name }}.stopped_by is null then {{ name }}.earlier_value end::numeric(20, 15) as {{ name }}_value,
    case when {{ name }}.stopped_by is null then scores.value - {{ name }}.earlier_value end::numeric(20, 15)
        as {{ name }}_change,
    {{ name }}.within_one_case::boolean as {{ name }}_within_one_case,
    {{ name }}.stopped_by::text as {{ name }}_stopped_by,
    {% endfor %}
    case
        when scores.has_interval
            then {{ wilson('scores.numerator', 'scores.denominator', 'parameters.interval_z', '-') }}
    end::numeric(7, 6) as interval_low,
    case
        when scores.has_interval
            then {{ wilson('scores.numerator', 'scores.denominator', 'parameters.interval_z', '+') }}
    end::numeric(7, 6) as interval_high,
    scores.policy_id::text as policy_id
from scores
cross join parameters
{% for name in comparisons %}
inner join compared as {{ name }}
    on
        scores.period_code = {{ name }}.period_code
        and scores.unit_code = {{ name }}.unit_code
        and scores.index_code = {{ name }}.index_code
        and {{ name }}.comparison = '{{ name }}'
{% endfor %}
