-- Grain: one row per period and unit: petitions counted once and with each one sent again as new, beside what the portal tells.
{{ config(alias='petition_count', unique_key=['period_code', 'unit_code']) }}

{%- set pairs = ['received', 'refused', 'not_yet_due', 'counted', 'unanswered'] %}
{%- set metrics = ['on_time', 'handling', 'dossier'] %}
{%- set definitions = ['portal_group', 'petition_rescaled', 'petition_12', 'recomputed_766', 'recomputed_104'] %}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

counts as (
    select * from {{ ref('fct_d_petition_count') }}
    where base_code = 'own'
),

portal as (
    select * from {{ ref('fct_d_petitions') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
    where index_code = 'D'
),

totals as (
    select * from {{ ref('mart_k_score') }}
),

-- Every definition of D, whichever the policy takes; recomputed_766 is recomputed_104 with each petition counted once.
rules as (
    select
        policies.policy_id,
        policies.d_zero_dossier,
        definition.name,
        definition.d_definition,
        definition.is_once
    from policies
    cross join (
        values
        ('portal_group', 'portal_group', false),
        ('petition_rescaled', 'petition_rescaled', false),
        ('petition_12', 'petition_12', false),
        ('recomputed_766', 'recomputed_104', true),
        ('recomputed_104', 'recomputed_104', false)
    ) as definition (name, d_definition, is_once)
),

told as (
    select
        portal.period_code,
        portal.unit_code,
        portal.policy_id,
        portal.total_score,
        portal.on_time_score,
        portal.handling_score,
        portal.dossier_score,
        portal.dossier_denominator,
        rules.name,
        rules.d_definition,
        rules.d_zero_dossier,
        counts.in_time,
        counts.satisfied,
        case when rules.is_once then counts.counted else counts.counted_as_new end as counted
    from portal
    inner join rules on portal.policy_id = rules.policy_id
    left join counts on portal.period_code = counts.period_code and portal.unit_code = counts.unit_code
),

counted as (
    select
        told.*,
        {{ petition_score('told.in_time', 'told.counted', 'policies') }} as as_new_on_time_score,
        {{ petition_score('told.satisfied', 'told.counted', 'policies') }} as as_new_handling_score
    from told
    inner join policies on told.policy_id = policies.policy_id
),

valued as (
    select
        counted.period_code,
        counted.unit_code,
        counted.name,
        {{ d_value('counted', 'counted', 'policies') }} as value
    from counted
    inner join policies on counted.policy_id = policies.policy_id
),

side_by_side as (
    select
        {% for name in definitions %}
        max(value) filter (where name = '{{ name }}') as d_{{ name }},
        {% endfor %}
        period_code,
        unit_code
    from valued
    group by period_code, unit_code
)

select
    windows.period_code::text as period_code,
    windows.unit_code::text as unit_code,
    windows.policy_id::text as policy_id,
    windows.window_start::date as window_start,
    windows.window_end::date as window_end,
    (counts.unit_code is not null)::boolean as is_read,
    counts.read_until::timestamptz as read_until,
    counts.judged_at::timestamptz as judged_at,
    {% for name in pairs %}
    counts.{{ name }}::bigint as {{ name }},
    counts.{{ name }}_as_new::bigint as {{ name }}_as_new,
    {% endfor %}
    (counts.received_as_new - counts.received)::bigint as resent,
    counts.in_time::bigint as in_time,
    counts.satisfied::bigint as satisfied,
    portal.window_from::date as portal_window_from,
    portal.window_to::date as portal_window_to,
    portal.total_petitions::bigint as portal_petitions,
    {% for metric in metrics %}
    portal.{{ metric }}_numerator::bigint as portal_{{ metric }}_numerator,
    portal.{{ metric }}_denominator::bigint as portal_{{ metric }}_denominator,
    portal.{{ metric }}_score::numeric as portal_{{ metric }}_score,
    {% endfor %}
    {% for name in definitions %}
    round(side_by_side.d_{{ name }}, 15)::numeric(20, 15) as d_{{ name }},
    {% endfor %}
    round(side_by_side.d_recomputed_104 - side_by_side.d_portal_group, 15)::numeric(20, 15) as difference,
    policies.d_definition::text as d_definition,
    indices.value::numeric(20, 15) as d,
    indices.status::text as d_status,
    indices.status_reason::text as d_status_reason,
    portal.is_window_mismatch::boolean as d_window_mismatch,
    totals.no_petitions::boolean as no_petitions,
    totals.small_sample::boolean as small_sample,
    portal.metric_version::text as metric_version,
    portal.retrieved_at::timestamptz as retrieved_at
from windows
inner join policies on windows.policy_id = policies.policy_id
inner join indices on windows.period_code = indices.period_code and windows.unit_code = indices.unit_code
inner join totals on windows.period_code = totals.period_code and windows.unit_code = totals.unit_code
left join counts on windows.period_code = counts.period_code and windows.unit_code = counts.unit_code
left join portal on windows.period_code = portal.period_code and windows.unit_code = portal.unit_code
left join side_by_side
    on windows.period_code = side_by_side.period_code and windows.unit_code = side_by_side.unit_code
