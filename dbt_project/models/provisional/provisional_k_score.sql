-- Grain: one row per period and unit: K as it stands tonight, for the City Office (Article 16.3). Not published.
{{ config(alias='k_score') }}

with totals as (
    select * from {{ ref('mart_k_score') }}
),

newest as (
    {{ newest_build() }}
)

select
    {{ stamped('newest') }},
    totals.period_code,
    totals.calendar_code,
    totals.unit_code,
    totals.unit_name,
    totals.peer_group,
    totals.peer_group_name,
    totals.unit_kind,
    totals.parent_unit_code,
    totals.a,
    totals.b,
    totals.c,
    totals.d,
    totals.e,
    totals.k,
    totals.verdict,
    totals.verdict_bound,
    totals.status,
    totals.status_reason,
    totals.rank_in_group,
    totals.window_start,
    totals.window_end,
    totals.window_clipped,
    totals.verdict_stability,
    totals.k_min,
    totals.k_max,
    totals.small_sample,
    totals.near_threshold,
    totals.no_petitions,
    totals.policy_id,
    totals.metric_version
from totals
cross join newest
