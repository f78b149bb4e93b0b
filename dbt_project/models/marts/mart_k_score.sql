-- Grain: one row per period and unit: the total K, its verdict and rank, or why there is none.
{{ config(
    alias='k_score',
    unique_key=['period_code', 'unit_code'],
    scope="held.period_code in (" ~ touched_periods(['result', 'rating']) ~ ")",
) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
    {%- if is_increment() %}
    where period_code in ({{ touched_periods(['result', 'rating']) }})
    {%- endif %}
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
    {%- if is_increment() %}
    where period_code in ({{ touched_periods(['result', 'rating']) }})
    {%- endif %}
),

petitions as (
    select * from {{ ref('fct_d_petitions') }}
),

sensitivity as (
    select * from {{ ref('mart_k_sensitivity') }}
    {%- if is_increment() %}
    where period_code in ({{ touched_periods(['result', 'rating']) }})
    {%- endif %}
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
        coalesce(
            case when duties.is_quotient then {{ quotient('indices.numerator', 'indices.denominator') }} end,
            petitions.value,
            indices.value
        ) as exact_value
    from indices
    inner join duties on indices.index_code = duties.index_code
    left join petitions
        on
            indices.index_code = 'D'
            and indices.period_code = petitions.period_code
            and indices.unit_code = petitions.unit_code
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
        coalesce(sum(maximum) filter (where status = 'scored'), 0) as present_maximum,
        coalesce(sum(maximum) filter (where status <> 'scored'), 0) as missing_maximum,
        string_agg(index_code || ':' || status, ',' order by index_code) filter (where status <> 'scored') as missing
    from exact
    group by period_code, unit_code
),

-- Everything about one unit and period in one row: later steps add columns, and no step joins rows to rows.
unit_periods as (
    select
        windows.*,
        units.unit_name,
        units.peer_group,
        units.peer_group_name,
        units.unit_kind,
        units.parent_unit_code,
        totals.a,
        totals.b,
        totals.c,
        totals.d,
        totals.e,
        totals.present,
        totals.present + totals.missing_maximum as possible,
        totals.missing,
        -- Without an index the annex says nothing: no K, nought for it, or what is there stretched to the whole.
        case
            when totals.is_complete or policies.missing_index = 'zero' then 1
            when policies.missing_index = 'rescale'
                then {{ quotient('(totals.present_maximum + totals.missing_maximum)', 'totals.present_maximum') }}
        end as stretch,
        policies.k_scale,
        policies.k_threshold,
        policies.k_equal,
        policies.near_threshold_distance,
        policies.rank_scale,
        policies.d_metric_max,
        petitions.d_on_time_numerator,
        petitions.d_on_time_denominator,
        petitions.petition_weight,
        petitions.d_handling_numerator,
        petitions.d_handling_denominator,
        petitions.metric_version,
        {{ barred_by('windows', 'duties') }} as barred_by
    from totals
    inner join windows on totals.period_code = windows.period_code and totals.unit_code = windows.unit_code
    inner join units on windows.unit_code = units.unit_code
    inner join policies on windows.policy_id = policies.policy_id
    inner join duties on duties.index_code = 'K'
    left join petitions on windows.period_code = petitions.period_code and windows.unit_code = petitions.unit_code
),

with_status as (
    select
        unit_periods.*,
        coalesce(
            {{ barred_status('unit_periods.barred_by') }},
            case when unit_periods.stretch is not null then 'scored' else 'incomplete' end
        ) as status,
        coalesce(unit_periods.barred_by, unit_periods.missing) as status_reason
    from unit_periods
),

with_k as (
    select
        with_status.*,
        case
            when with_status.status = 'scored'
                then {{ round_k('with_status.present * with_status.stretch', 'with_status') }}
        end as k
    from with_status
),

with_verdict as (
    select
        with_k.*,
        {{ verdict('with_k.k', 'with_k') }} as verdict,
        abs(with_k.k - with_k.k_threshold) <= with_k.near_threshold_distance as near_threshold,
        -- A conclusion that holds whatever the missing indices turn out to be.
        case
            when with_k.status <> 'incomplete' then null
            when {{ round_k('with_k.present', 'with_k') }} > with_k.k_threshold then 'satisfied_whatever'
            when {{ round_k('with_k.possible', 'with_k') }} < with_k.k_threshold then 'not_satisfied_whatever'
            else 'open'
        end as verdict_bound,
        with_k.k is not null and with_k.window_clipped is null as is_ranked
    from with_k
),

with_rank as (
    select
        with_verdict.*,
        case
            when with_verdict.is_ranked
                then rank() over (
                        partition by with_verdict.period_code, with_verdict.peer_group, with_verdict.is_ranked
                        order by round(with_verdict.k, with_verdict.rank_scale) desc
                    )
        end as rank_in_group
    from with_verdict
)

select
    with_rank.period_code::text as period_code,
    with_rank.calendar_code::text as calendar_code,
    with_rank.unit_code::text as unit_code,
    with_rank.unit_name::text as unit_name,
    with_rank.peer_group::text as peer_group,
    with_rank.peer_group_name::text as peer_group_name,
    with_rank.unit_kind::text as unit_kind,
    with_rank.parent_unit_code::text as parent_unit_code,
    with_rank.a::numeric(20, 15) as a,
    with_rank.b::numeric(20, 15) as b,
    with_rank.c::numeric(20, 15) as c,
    with_rank.d::numeric(20, 15) as d,
    with_rank.e::numeric(20, 15) as e,
    with_rank.k::numeric(12, 6) as k,
    with_rank.verdict::text as verdict,
    with_rank.verdict_bound::text as verdict_bound,
    with_rank.status::text as status,
    with_rank.status_reason::text as status_reason,
    with_rank.rank_in_group::integer as rank_in_group,
    with_rank.window_start::date as window_start,
    with_rank.window_end::date as window_end,
    with_rank.window_clipped::text as window_clipped,
    sensitivity.verdict_stability::text as verdict_stability,
    sensitivity.k_min::numeric(12, 6) as k_min,
    sensitivity.k_max::numeric(12, 6) as k_max,
    coalesce(one_petition.changes_verdict, false)::boolean as small_sample,
    coalesce(with_rank.near_threshold, false)::boolean as near_threshold,
    coalesce(with_rank.d_on_time_denominator = 0, false)::boolean as no_petitions,
    with_rank.policy_id::text as policy_id,
    with_rank.metric_version::text as metric_version
from with_rank
left join sensitivity
    on with_rank.period_code = sensitivity.period_code and with_rank.unit_code = sensitivity.unit_code
-- One petition more or fewer, good or bad: would the verdict be another? Both petition metrics move together.
cross join lateral (
    select bool_or({{ verdict('changed.k', 'with_rank') }} <> with_rank.verdict) as changes_verdict
    from (
        select
            {{ round_k(
                '(with_rank.present + with_rank.petition_weight * ('
                ~ petition_score('(with_rank.d_on_time_numerator + change.good)',
                    '(with_rank.d_on_time_denominator + change.more)', 'with_rank')
                ~ ' - ' ~ petition_score('with_rank.d_on_time_numerator', 'with_rank.d_on_time_denominator', 'with_rank')
                ~ ' + ' ~ petition_score('(with_rank.d_handling_numerator + change.good)',
                    '(with_rank.d_handling_denominator + change.more)', 'with_rank')
                ~ ' - ' ~ petition_score('with_rank.d_handling_numerator', 'with_rank.d_handling_denominator', 'with_rank')
                ~ ')) * with_rank.stretch',
                'with_rank'
            ) }} as k
        from (values (0, 1), (1, 1), (0, -1), (-1, -1)) as change (good, more)
        where
            with_rank.status = 'scored'
            and with_rank.d is not null
            and case
                when change.more > 0 then true
                when change.good < 0
                    then with_rank.d_on_time_numerator > 0 and with_rank.d_handling_numerator > 0
                else
                    with_rank.d_on_time_numerator < with_rank.d_on_time_denominator
                    and with_rank.d_handling_numerator < with_rank.d_handling_denominator
            end
    ) as changed
) as one_petition
