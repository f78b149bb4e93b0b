-- Grain: one row per period, unit and reason for which the head of the unit owes an explanation (Article 3.8).
{{ config(alias='explanation_owed', unique_key=['period_code', 'unit_code', 'reason']) }}

-- Heads answer for whole units, for a window in which the unit is scored at all.
with windows as (
    select * from {{ ref('core_unit_window') }}
    where not is_before_rule and not is_too_short and not is_sub_unit
),

periods as (
    select * from {{ ref('dim_period') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

days as (
    select * from {{ ref('dim_calendar_day') }}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

scores as (
    select * from {{ ref('mart_k_score') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
    where index_code in ('A', 'E') and status = 'scored'
),

overdue_days as (
    select * from {{ ref('fct_unit_day_overdue_long') }}
),

reconciled as (
    select * from {{ ref('mart_reconciliation') }}
),

differences as (
    select * from {{ ref('reconciliation_reason') }}
),

reasons as (
    select * from {{ ref('explanation_reason') }}
),

explanations as (
    select * from {{ ref('core_explanation') }}
),

-- The last day read: of dossiers, whose results the scores are made of, and of explanations.
reads as (
    select
        {{ local_date("max(window_end) filter (where feed = 'dossier')") }} - 1 as dossiers_until,
        {{ local_date("max(window_end) filter (where feed = 'unit_explanation')") }} - 1 as explanations_until
    from batches
),

-- Each period with the one before it of the same kind, and the day until which an explanation is given.
terms as (
    select
        periods.period_code,
        periods.period_kind,
        earlier.period_code as previous_period_code,
        periods.period_end > reads.dossiers_until + 1 as is_running,
        reads.dossiers_until,
        reads.explanations_until,
        last_day.day as due_on
    from periods
    cross join reads
    inner join policies on periods.policy_id = policies.policy_id
    left join periods as earlier
        on
            periods.calendar_code = earlier.calendar_code
            and periods.period_kind = earlier.period_kind
            and periods.period_start = earlier.period_end
    left join days as result_day on periods.due_at::date = result_day.day
    left join days as last_day
        on
            last_day.is_working_day
            and result_day.working_day_number + policies.explain_within_days = last_day.working_day_number
),

unit_periods as (
    select
        windows.*,
        terms.period_kind,
        terms.previous_period_code,
        terms.is_running,
        terms.explanations_until,
        terms.due_on,
        -- Up to here the window is known.
        least(windows.window_end - 1, terms.dossiers_until) as known_until
    from windows
    inner join terms on windows.period_code = terms.period_code
),

failed as (
    select
        scores.period_code,
        scores.unit_code,
        'not_satisfied' as reason,
        scores.k as measured,
        null::numeric as compared_with,
        policies.k_threshold as threshold,
        null as not_compared_because
    from scores
    inner join policies on scores.policy_id = policies.policy_id
    where scores.verdict = 'not_satisfied' or scores.verdict_bound = 'not_satisfied_whatever'
),

-- What fell for another reason than the unit's work, a shorter window or another method, is shown and not owed.
k_fell as (
    select
        unit_periods.period_code,
        unit_periods.unit_code,
        'k_fell' as reason,
        scores.k as measured,
        earlier.k as compared_with,
        policies.explain_k_fall as threshold,
        case
            when scores.policy_id <> earlier.policy_id then 'policy'
            when coalesce(scores.metric_version, '') <> coalesce(earlier.metric_version, '') then 'metric_version'
            when coalesce(scores.window_clipped, earlier.window_clipped) is not null then 'window_clipped'
        end as not_compared_because
    from unit_periods
    inner join policies on unit_periods.policy_id = policies.policy_id
    inner join scores
        on unit_periods.period_code = scores.period_code and unit_periods.unit_code = scores.unit_code
    inner join scores as earlier
        on unit_periods.previous_period_code = earlier.period_code and unit_periods.unit_code = earlier.unit_code
    where earlier.k - scores.k > policies.explain_k_fall
),

-- As exact fractions: a fall that so many dossiers more or fewer, in either period, account for is none to explain.
a_fell as (
    select
        unit_periods.period_code,
        unit_periods.unit_code,
        'a_fell' as reason,
        indices.value as measured,
        earlier.value as compared_with,
        policies.explain_cases as threshold,
        case
            when indices.policy_id <> earlier.policy_id then 'policy'
            when coalesce(unit_periods.window_clipped, earlier_window.window_clipped) is not null then 'window_clipped'
        end as not_compared_because
    from unit_periods
    inner join policies on unit_periods.policy_id = policies.policy_id
    inner join indices
        on
            indices.index_code = 'A'
            and unit_periods.period_code = indices.period_code
            and unit_periods.unit_code = indices.unit_code
    inner join indices as earlier
        on
            earlier.index_code = 'A'
            and unit_periods.previous_period_code = earlier.period_code
            and unit_periods.unit_code = earlier.unit_code
    inner join windows as earlier_window
        on earlier.period_code = earlier_window.period_code and earlier.unit_code = earlier_window.unit_code
    where
        earlier.numerator * indices.denominator - indices.numerator * earlier.denominator
        > policies.explain_cases * greatest(indices.denominator, earlier.denominator)
),

overdue_long as (
    select
        unit_periods.period_code,
        unit_periods.unit_code,
        'overdue_long' as reason,
        sum(overdue_days.became_overdue_long - overdue_days.overdue_long_ended) as measured,
        null::numeric as compared_with,
        max(policies.overdue_long_days) as threshold,
        null as not_compared_because
    from unit_periods
    inner join policies on unit_periods.policy_id = policies.policy_id
    inner join overdue_days
        on unit_periods.unit_code = overdue_days.unit_code and unit_periods.known_until >= overdue_days.event_on
    where unit_periods.known_until >= unit_periods.window_start
    group by unit_periods.period_code, unit_periods.unit_code
    having sum(overdue_days.became_overdue_long - overdue_days.overdue_long_ended) > 0
),

not_posted as (
    select
        period_code,
        unit_code,
        'e_zero' as reason,
        value as measured,
        null::numeric as compared_with,
        null::numeric as threshold,
        null as not_compared_because
    from indices
    where index_code = 'E' and value = 0
),

compared as (
    select
        unit_periods.period_code,
        unit_periods.unit_code,
        max(policies.explain_cases) as explain_cases,
        max(policies.explain_reconciliation_share) as explain_reconciliation_share,
        greatest(
            coalesce(sum(reconciled.city_count) filter (where differences.is_explained), 0),
            coalesce(sum(reconciled.portal_count) filter (where differences.is_explained), 0)
        ) as differing,
        greatest(sum(reconciled.city_count), sum(reconciled.portal_count)) as dossiers
    from unit_periods
    inner join policies on unit_periods.policy_id = policies.policy_id
    inner join reconciled
        on
            unit_periods.unit_code = reconciled.unit_code
            and unit_periods.window_start <= reconciled.received_on
            and unit_periods.window_end > reconciled.received_on
    inner join differences on reconciled.reason = differences.reason
    group by unit_periods.period_code, unit_periods.unit_code
),

not_reconciled as (
    select
        period_code,
        unit_code,
        'reconciliation' as reason,
        differing as measured,
        dossiers as compared_with,
        explain_reconciliation_share as threshold,
        null as not_compared_because
    from compared
    where differing > explain_cases and differing > explain_reconciliation_share * dossiers
),

owed as (
    select * from failed
    union all
    select * from k_fell
    union all
    select * from a_fell
    union all
    select * from overdue_long
    union all
    select * from not_posted
    union all
    select * from not_reconciled
),

-- Of several explanations of one matter an accepted one counts, else the newest.
answered as (
    select distinct on (unit_code, period_code, index_code) *
    from explanations
    where unit_code is not null
    order by
        unit_code,
        period_code,
        index_code,
        coalesce(decision_code = 'accepted', false) desc,
        submitted_at desc nulls last,
        explanation_id collate "C" desc -- noqa: RF02
),

told as (
    select
        unit_periods.period_code,
        unit_periods.calendar_code,
        unit_periods.period_kind,
        unit_periods.unit_code,
        unit_periods.policy_id,
        unit_periods.previous_period_code,
        unit_periods.is_running,
        unit_periods.explanations_until,
        unit_periods.due_on,
        owed.reason,
        owed.measured,
        owed.compared_with,
        owed.threshold,
        owed.not_compared_because,
        reasons.index_code,
        answered.explanation_id,
        answered.document_no,
        answered.cause_code,
        answered.submitted_at,
        answered.submitted_on,
        answered.decided_at,
        answered.decision_code
    from owed
    inner join unit_periods on owed.period_code = unit_periods.period_code and owed.unit_code = unit_periods.unit_code
    inner join reasons on owed.reason = reasons.reason
    left join answered
        on
            unit_periods.period_code = answered.period_code
            and unit_periods.unit_code = answered.unit_code
            and reasons.index_code = answered.index_code
)

select
    period_code::text as period_code,
    calendar_code::text as calendar_code,
    period_kind::text as period_kind,
    unit_code::text as unit_code,
    reason::text as reason,
    policy_id::text as policy_id,
    index_code::text as index_code,
    trim_scale(measured)::numeric as measured,
    trim_scale(compared_with)::numeric as compared_with,
    threshold::numeric as threshold,
    case when reason in ('k_fell', 'a_fell') then previous_period_code end::text as previous_period_code,
    not_compared_because::text as not_compared_because,
    case
        when not_compared_because is not null then 'not_compared'
        when decision_code = 'accepted' then 'accepted'
        when decision_code = 'rejected' then 'rejected'
        when explanation_id is not null then 'given'
        when is_running then 'running'
        when explanations_until is null then 'not_read'
        when explanations_until > due_on then 'overdue'
        else 'open'
    end::text as state,
    case when not_compared_because is null then due_on end::date as due_on,
    explanation_id::text as explanation_id,
    document_no::text as document_no,
    cause_code::text as cause_code,
    submitted_at::timestamptz as submitted_at,
    case when not_compared_because is null then submitted_on > due_on end::boolean as is_late,
    decided_at::timestamptz as decided_at,
    decision_code::text as decision_code,
    explanations_until::date as as_of_on
from told
