-- Grain: one row per period, unit and figure of the portal that differs from its other figures or from the petitions read.
{{ config(alias='portal_difference', unique_key=['period_code', 'unit_code', 'difference']) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

portal as (
    select * from {{ ref('fct_d_petitions') }}
),

counts as (
    select * from {{ ref('fct_d_petition_count') }}
    where base_code = 'own'
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

-- Counts are compared over one window, and where petitions were read as far as the day on which the portal was asked.
comparable as (
    select
        counts.*,
        counts.received - counts.refused as not_refused
    from counts
    inner join portal on counts.period_code = portal.period_code and counts.unit_code = portal.unit_code
    where
        not portal.is_window_mismatch
        and {{ local_time('counts.read_until') }} >= {{ local_date('portal.retrieved_at') }}
),

compared as (
    select
        portal.period_code,
        portal.unit_code,
        figure.difference,
        figure.portal_value,
        figure.our_value,
        figure.tolerance
    from portal
    inner join windows on portal.period_code = windows.period_code and portal.unit_code = windows.unit_code
    inner join policies on portal.policy_id = policies.policy_id
    left join comparable on portal.period_code = comparable.period_code and portal.unit_code = comparable.unit_code
    cross join lateral (
        values
        -- Days of the window. Two windows as long are the same: both lie in the period, and the portal's is all of it.
        ('window', portal.window_to - portal.window_from + 1, windows.window_days, 0),
        (
            'total_of_metrics', portal.total_score,
            portal.on_time_score + portal.handling_score + portal.dossier_score, policies.d_recompute_tolerance
        ),
        (
            'total_recomputed', portal.total_score,
            case when portal.is_difference_finding then portal.recomputed_score end, policies.d_recompute_tolerance
        ),
        (
            'on_time_score', portal.on_time_score,
            {{ petition_score('portal.on_time_numerator', 'portal.on_time_denominator', 'policies') }},
            policies.d_recompute_tolerance
        ),
        (
            'handling_score', portal.handling_score,
            {{ petition_score('portal.handling_numerator', 'portal.handling_denominator', 'policies') }},
            policies.d_recompute_tolerance
        ),
        (
            'dossier_score', portal.dossier_score,
            {{ dossier_score('portal.dossier_numerator', 'portal.dossier_denominator', 'policies') }},
            policies.d_recompute_tolerance
        ),
        ('petitions', portal.total_petitions, comparable.not_refused, 0),
        ('on_time_denominator', portal.on_time_denominator, comparable.counted, 0),
        ('on_time_numerator', portal.on_time_numerator, comparable.in_time, 0),
        ('handling_denominator', portal.handling_denominator, comparable.counted, 0),
        ('handling_numerator', portal.handling_numerator, comparable.satisfied, 0)
    ) as figure (difference, portal_value, our_value, tolerance)
)

select
    period_code::text as period_code,
    unit_code::text as unit_code,
    difference::text as difference,
    portal_value::numeric as portal_value,
    trim_scale(round(our_value, 15))::numeric as our_value,
    trim_scale(round(portal_value - our_value, 15))::numeric as amount
from compared
-- What one side does not tell differs in nothing.
where abs(portal_value - our_value) > tolerance
