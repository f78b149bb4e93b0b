-- Grain: one row per period and unit: the total K, its verdict and rank, or why there is none.
{{ config(alias='k_score', unique_key=['period_code', 'unit_code']) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

duties as (
    select * from {{ ref('index_duty') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
),

petitions as (
    select * from {{ ref('fct_d_petitions') }}
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

-- Only K is rounded: it adds the quotients themselves, not their 15 decimals.
exact as (
    select
        indices.*,
        maxima.value as maximum,
        case
            when duties.is_quotient then {{ quotient('indices.numerator', 'indices.denominator') }}
            else indices.value
        end as exact_value
    from indices
    inner join duties on indices.index_code = duties.index_code
    inner join maxima on indices.policy_id = maxima.policy_id and indices.index_code = maxima.index_code
),

totals as (
    select
        period_code,
        unit_code,
        {% for index in ['a', 'b', 'c', 'd', 'e'] %}
        max(value) filter (where index_code = '{{ index | upper }}') as {{ index }},
        {% endfor %}
        bool_and(status = 'scored') as is_complete,
        coalesce(sum(exact_value) filter (where status = 'scored'), 0) as present,
        coalesce(sum(maximum) filter (where status <> 'scored'), 0) as missing_maximum,
        string_agg(index_code || ':' || status, ',' order by index_code) filter (where status <> 'scored') as missing
    from exact
    group by period_code, unit_code
),

barred as (
    select
        windows.period_code,
        windows.unit_code,
        {{ barred_by('windows', 'duties') }} as barred_by
    from windows
    inner join duties on duties.index_code = 'K'
),

status as (
    select
        barred.period_code,
        barred.unit_code,
        coalesce(
            {{ barred_status('barred.barred_by') }},
            case when totals.is_complete then 'scored' else 'incomplete' end
        ) as status,
        coalesce(barred.barred_by, totals.missing) as status_reason
    from barred
    inner join totals on barred.period_code = totals.period_code and barred.unit_code = totals.unit_code
),

scored as (
    select
        status.period_code,
        status.unit_code,
        totals.d,
        totals.present,
        {{ round_k('totals.present', 'policies') }} as k,
        {{ verdict(round_k('totals.present', 'policies'), 'policies') }} as verdict,
        abs({{ round_k('totals.present', 'policies') }} - policies.k_threshold) <= policies.near_threshold_distance
            as near_threshold
    from status
    inner join windows on status.period_code = windows.period_code and status.unit_code = windows.unit_code
    inner join policies on windows.policy_id = policies.policy_id
    inner join totals on status.period_code = totals.period_code and status.unit_code = totals.unit_code
    where status.status = 'scored'
),

-- Conclusions that hold whatever the missing indices turn out to be.
bounds as (
    select
        status.period_code,
        status.unit_code,
        case
            when {{ round_k('totals.present', 'policies') }} > policies.k_threshold then 'satisfied_whatever'
            when {{ round_k('totals.present + totals.missing_maximum', 'policies') }} < policies.k_threshold
                then 'not_satisfied_whatever'
            else 'open'
        end as verdict_bound
    from status
    inner join windows on status.period_code = windows.period_code and status.unit_code = windows.unit_code
    inner join policies on windows.policy_id = policies.policy_id
    inner join totals on status.period_code = totals.period_code and status.unit_code = totals.unit_code
    where status.status = 'incomplete'
),

ranks as (
    select
        scored.period_code,
        scored.unit_code,
        rank() over (
            partition by scored.period_code, units.peer_group
            order by round(scored.k, policies.rank_scale) desc
        ) as rank_in_group
    from scored
    inner join windows on scored.period_code = windows.period_code and scored.unit_code = windows.unit_code
    inner join policies on windows.policy_id = policies.policy_id
    inner join units on scored.unit_code = units.unit_code
    where windows.window_clipped is null
),

-- One petition more or fewer, good or bad: the counts as they would be.
one_petition as (
    select
        scored.period_code,
        scored.unit_code,
        scored.verdict,
        scored.present,
        petitions.policy_id,
        petitions.on_time_numerator as on_time,
        petitions.on_time_denominator as on_time_of,
        petitions.handling_numerator as handling,
        petitions.handling_denominator as handling_of,
        change.good,
        change.more
    from scored
    inner join petitions on scored.period_code = petitions.period_code and scored.unit_code = petitions.unit_code
    cross join (values (0, 1), (1, 1), (0, -1), (-1, -1)) as change (good, more)
    where
        case
            when change.more > 0 then true
            when change.good < 0 then petitions.on_time_numerator > 0 and petitions.handling_numerator > 0
            else
                petitions.on_time_numerator < petitions.on_time_denominator
                and petitions.handling_numerator < petitions.handling_denominator
        end
),

one_petition_points as (
    select
        one_petition.*,
        {{ petition_score('one_petition.on_time', 'one_petition.on_time_of', 'policies') }} as on_time_now,
        {{ petition_score(
            '(one_petition.on_time + one_petition.good)', '(one_petition.on_time_of + one_petition.more)', 'policies'
        ) }} as on_time_then,
        {{ petition_score('one_petition.handling', 'one_petition.handling_of', 'policies') }} as handling_now,
        {{ petition_score(
            '(one_petition.handling + one_petition.good)', '(one_petition.handling_of + one_petition.more)', 'policies'
        ) }} as handling_then
    from one_petition
    inner join policies on one_petition.policy_id = policies.policy_id
),

one_petition_k as (
    select
        period_code,
        unit_code,
        verdict,
        policy_id,
        present - on_time_now - handling_now + on_time_then + handling_then as k
    from one_petition_points
),

small_samples as (
    select
        one_petition_k.period_code,
        one_petition_k.unit_code,
        bool_or(
            {{ verdict(round_k('one_petition_k.k', 'policies'), 'policies') }} <> one_petition_k.verdict
        ) as small_sample
    from one_petition_k
    inner join policies on one_petition_k.policy_id = policies.policy_id
    group by one_petition_k.period_code, one_petition_k.unit_code
)

select
    windows.period_code::text as period_code,
    windows.calendar_code::text as calendar_code,
    windows.unit_code::text as unit_code,
    units.unit_name::text as unit_name,
    units.peer_group::text as peer_group,
    units.peer_group_name::text as peer_group_name,
    units.unit_kind::text as unit_kind,
    units.parent_unit_code::text as parent_unit_code,
    totals.a::numeric(20, 15) as a,
    totals.b::numeric(20, 15) as b,
    totals.c::numeric(20, 15) as c,
    totals.d::numeric(20, 15) as d,
    totals.e::numeric(20, 15) as e,
    scored.k::numeric(12, 6) as k,
    scored.verdict::text as verdict,
    bounds.verdict_bound::text as verdict_bound,
    status.status::text as status,
    status.status_reason::text as status_reason,
    ranks.rank_in_group::integer as rank_in_group,
    windows.window_start::date as window_start,
    windows.window_end::date as window_end,
    windows.window_clipped::text as window_clipped,
    'not_computed'::text as verdict_stability,
    null::numeric(12, 6) as k_min,
    null::numeric(12, 6) as k_max,
    coalesce(small_samples.small_sample, false)::boolean as small_sample,
    coalesce(scored.near_threshold, false)::boolean as near_threshold,
    coalesce(petitions.on_time_denominator = 0, false)::boolean as no_petitions,
    windows.policy_id::text as policy_id,
    petitions.metric_version::text as metric_version
from windows
inner join status on windows.period_code = status.period_code and windows.unit_code = status.unit_code
inner join totals on windows.period_code = totals.period_code and windows.unit_code = totals.unit_code
inner join units on windows.unit_code = units.unit_code
left join scored on windows.period_code = scored.period_code and windows.unit_code = scored.unit_code
left join bounds on windows.period_code = bounds.period_code and windows.unit_code = bounds.unit_code
left join ranks on windows.period_code = ranks.period_code and windows.unit_code = ranks.unit_code
left join small_samples
    on windows.period_code = small_samples.period_code and windows.unit_code = small_samples.unit_code
left join petitions on windows.period_code = petitions.period_code and windows.unit_code = petitions.unit_code
