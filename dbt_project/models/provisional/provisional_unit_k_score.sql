-- Grain: one row per period and unit of the login that asks: K as the unit may see it tonight (Articles 3.4, 16.3). Not published.
{{ config(alias='unit_k_score', post_hook="{{ of_own_units() }}") }}

with totals as (
    select * from {{ ref('mart_k_score') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

newest as (
    {{ newest_build() }}
),

own as (
    {{ own_units() }}
),

{{ c_kept_from_units() }},

-- K without C, and with all of it: what lies between holds whatever C is.
bounded as (
    select
        totals.*,
        kept.unit_code is not null as is_kept,
        num_nulls(totals.a, totals.b, totals.d, totals.e) = 0 as is_else_complete,
        policies.k_threshold,
        policies.k_equal,
        {{ round_k(
            'coalesce(totals.a, 0) + coalesce(totals.b, 0) + coalesce(totals.d, 0) + coalesce(totals.e, 0)', 'policies'
        ) }} as k_least,
        {{ round_k(
            'coalesce(totals.a, policies.a_max) + coalesce(totals.b, policies.b_max) + policies.c_max'
            ~ ' + coalesce(totals.d, policies.d_max) + coalesce(totals.e, policies.e_max)', 'policies'
        ) }} as k_most
    from totals
    inner join policies on totals.policy_id = policies.policy_id
    left join kept on totals.period_code = kept.period_code and totals.unit_code = kept.unit_code
),

judged as (
    select
        bounded.*,
        {{ verdict('bounded.k_least', 'bounded') }} as verdict_least,
        {{ verdict('bounded.k_most', 'bounded') }} as verdict_most
    from bounded
)

select
    {{ stamped('newest') }},
    judged.period_code,
    judged.calendar_code,
    judged.unit_code,
    judged.unit_name,
    judged.peer_group,
    judged.peer_group_name,
    judged.unit_kind,
    judged.parent_unit_code,
    judged.a,
    judged.b,
    case when not judged.is_kept then judged.c end::numeric(20, 15) as c,
    judged.d,
    judged.e,
    case when not judged.is_kept then judged.k end::numeric(12, 6) as k,
    -- The verdict stays where every C gives it; a K that a policy fills up from what is there has other bounds.
    case
        when not judged.is_kept then judged.verdict
        when judged.verdict is not null and judged.is_else_complete and judged.verdict_least = judged.verdict_most
            then judged.verdict_least
    end::text as verdict,
    case
        when not judged.is_kept then judged.verdict_bound
        when judged.status <> 'incomplete' then null
        when judged.k_least > judged.k_threshold then 'satisfied_whatever'
        when judged.k_most < judged.k_threshold then 'not_satisfied_whatever'
        else 'open'
    end::text as verdict_bound,
    case when judged.is_kept and judged.k is not null then 'suppressed' else judged.status end::text as status,
    judged.status_reason,
    judged.window_start,
    judged.window_end,
    judged.window_clipped,
    case when not judged.is_kept then judged.verdict_stability end::text as verdict_stability,
    case when not judged.is_kept then judged.k_min end::numeric(12, 6) as k_min,
    case when not judged.is_kept then judged.k_max end::numeric(12, 6) as k_max,
    case when not judged.is_kept then judged.small_sample end::boolean as small_sample,
    case when not judged.is_kept then judged.near_threshold end::boolean as near_threshold,
    judged.no_petitions,
    judged.policy_id,
    judged.metric_version
from judged
inner join own on judged.unit_code = own.unit_code
cross join newest
