-- Grain: one row per year and unit: what goes into the yearly administrative-reform index (Article 13).
{{ config(alias='reform_index_handover', unique_key=['period_code', 'unit_code']) }}

{%- set kinds = ['internal', 'authority', 'self', 'organisation'] %}

with windows as (
    select * from {{ ref('core_unit_window') }}
    where not is_sub_unit
),

periods as (
    select * from {{ ref('dim_period') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

scores as (
    select * from {{ ref('mart_k_score') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
),

flows as (
    select * from {{ ref('mart_dossier_flow') }}
),

evaluations as (
    select * from {{ ref('mart_evaluation') }}
),

follow_ups as (
    select * from {{ ref('mart_follow_up') }}
),

reached as (
    select {{ local_date('max(window_end)') }} - 1 as last_day
    from batches
    where feed = 'dossier'
),

years as (
    select
        windows.*,
        periods.period_end - 1 <= reached.last_day as is_year_over
    from windows
    inner join periods on windows.period_code = periods.period_code
    cross join reached
    where periods.period_kind = 'year'
),

-- How much of the year was scored at all: the quarters inside it, of those in which the unit was there.
coverage as (
    select
        years.period_code,
        years.unit_code,
        count(*) as quarters,
        count(*) filter (where scores.status = 'scored') as quarters_scored
    from years
    inner join scores
        on
            years.unit_code = scores.unit_code
            and years.calendar_code = scores.calendar_code
    inner join periods
        on
            scores.period_code = periods.period_code
            and periods.period_kind = 'quarter'
            and years.period_start <= periods.period_start
            and years.period_end >= periods.period_end
    group by years.period_code, years.unit_code
),

counts as (
    select
        period_code,
        unit_code,
        max(denominator) filter (where index_code = 'A') as a_dossiers,
        max(excluded) filter (where index_code = 'A') as a_excluded,
        max(denominator) filter (where index_code = 'C') as c_ratings
    from indices
    group by period_code, unit_code
),

evaluated as (
    select
        {% for kind in kinds %}
        max(share) filter (where evaluator_kind = '{{ kind }}') as {{ kind }}_share,
        max(status) filter (where evaluator_kind = '{{ kind }}') as {{ kind }}_status,
        {% endfor %}
        max(rank) filter (where evaluator_kind = 'authority') as authority_rank,
        bool_or(is_small) filter (where evaluator_kind = 'organisation') as organisation_is_small,
        period_code,
        unit_code
    from evaluations
    group by period_code, unit_code
)

select
    years.period_code::text as period_code,
    years.calendar_code::text as calendar_code,
    years.unit_code::text as unit_code,
    scores.unit_name::text as unit_name,
    scores.unit_kind::text as unit_kind,
    scores.peer_group::text as peer_group,
    scores.peer_group_name::text as peer_group_name,
    years.policy_id::text as policy_id,
    scores.metric_version::text as metric_version,
    years.window_start::date as window_start,
    years.window_end::date as window_end,
    years.window_days::integer as window_days,
    (years.period_end - years.period_start)::integer as year_days,
    years.window_clipped::text as window_clipped,
    coalesce(years.is_year_over, false)::boolean as is_year_over,
    scores.a::numeric(20, 15) as a,
    scores.b::numeric(20, 15) as b,
    scores.c::numeric(20, 15) as c,
    scores.d::numeric(20, 15) as d,
    scores.e::numeric(20, 15) as e,
    scores.k::numeric(12, 6) as k,
    scores.verdict::text as verdict,
    scores.verdict_bound::text as verdict_bound,
    scores.verdict_stability::text as verdict_stability,
    scores.status::text as status,
    scores.status_reason::text as status_reason,
    scores.rank_in_group::integer as rank_in_group,
    coalesce(coverage.quarters, 0)::integer as quarters,
    coalesce(coverage.quarters_scored, 0)::integer as quarters_scored,
    counts.a_dossiers::bigint as a_dossiers,
    counts.a_excluded::bigint as a_excluded,
    flows.open_overdue::bigint as open_overdue,
    counts.c_ratings::bigint as c_ratings,
    coalesce(counts.c_ratings > 0 and counts.c_ratings < policies.c_min_ratings, false)::boolean as has_few_ratings,
    {%- for kind in kinds %}
    evaluated.{{ kind }}_status::text as {{ kind }}_status,
    evaluated.{{ kind }}_share::numeric(20, 15) as {{ kind }}_share,
    {%- endfor %}
    evaluated.authority_rank::integer as authority_rank,
    coalesce(evaluated.organisation_is_small, false)::boolean as organisation_is_small,
    follow_ups.explanations_owed::bigint as explanations_owed,
    follow_ups.explanations_overdue::bigint as explanations_overdue
from years
inner join policies on years.policy_id = policies.policy_id
inner join scores on years.period_code = scores.period_code and years.unit_code = scores.unit_code
inner join counts on years.period_code = counts.period_code and years.unit_code = counts.unit_code
inner join flows on years.period_code = flows.period_code and years.unit_code = flows.unit_code
inner join evaluated on years.period_code = evaluated.period_code and years.unit_code = evaluated.unit_code
inner join follow_ups on years.period_code = follow_ups.period_code and years.unit_code = follow_ups.unit_code
left join coverage on years.period_code = coverage.period_code and years.unit_code = coverage.unit_code
