-- Grain: one row per period and unit: explanations owed, remedies, disputes, counted.
{{ config(alias='follow_up', unique_key=['period_code', 'unit_code']) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

periods as (
    select * from {{ ref('dim_period') }}
),

owed as (
    select * from {{ ref('mart_explanation_owed') }}
),

explanations as (
    select * from {{ ref('core_explanation') }}
),

actions as (
    select * from {{ ref('mart_action') }}
),

disputes as (
    select * from {{ ref('mart_dispute') }}
),

owed_sums as (
    select
        period_code,
        unit_code,
        count(*) filter (where state <> 'not_compared') as owed,
        {%- for state in ['open', 'overdue', 'given', 'accepted', 'rejected', 'not_compared'] %}
        count(*) filter (where state = '{{ state }}') as {{ state }},
        {%- endfor %}
        count(*) filter (where state in ('running', 'not_read')) as not_yet
    from owed
    group by period_code, unit_code
),

explanation_sums as (
    select
        period_code,
        unit_code,
        count(*) as came
    from explanations
    group by period_code, unit_code
),

promised as (
    select
        windows.period_code,
        windows.unit_code,
        count(*) as due,
        count(*) filter (where actions.state = 'done') as done,
        count(*) filter (where actions.state = 'overdue') as overdue
    from windows
    inner join actions
        on
            windows.unit_code = actions.unit_code
            and windows.window_start <= actions.due_on
            and windows.window_end > actions.due_on
    group by windows.period_code, windows.unit_code
),

finished as (
    select
        windows.period_code,
        windows.unit_code,
        count(*) as done
    from windows
    inner join actions
        on
            windows.unit_code = actions.unit_code
            and windows.window_start <= actions.done_on
            and windows.window_end > actions.done_on
    where actions.state = 'done'
    group by windows.period_code, windows.unit_code
),

explained as (
    select
        period_code,
        unit_code,
        count(*) as actions
    from actions
    where link_status = 'linked'
    group by period_code, unit_code
),

disputed as (
    select
        windows.period_code,
        windows.unit_code,
        count(*) as raised,
        count(*) filter (where {{ local_time('disputes.raised_at') }} < periods.cutoff_at) as before_cutoff,
        count(*) filter (where disputes.state = 'open') as open,
        count(*) filter (where disputes.state = 'accepted') as accepted,
        count(*) filter (where disputes.state = 'rejected') as rejected
    from windows
    inner join periods on windows.period_code = periods.period_code
    inner join disputes
        on
            windows.unit_code = disputes.unit_code
            and windows.window_start <= disputes.event_on
            and windows.window_end > disputes.event_on
    group by windows.period_code, windows.unit_code
)

select
    windows.period_code::text as period_code,
    windows.unit_code::text as unit_code,
    coalesce(owed_sums.owed, 0)::bigint as explanations_owed,
    coalesce(owed_sums.not_yet, 0)::bigint as explanations_not_yet,
    coalesce(owed_sums.open, 0)::bigint as explanations_open,
    coalesce(owed_sums.overdue, 0)::bigint as explanations_overdue,
    coalesce(owed_sums.given, 0)::bigint as explanations_given,
    coalesce(owed_sums.accepted, 0)::bigint as explanations_accepted,
    coalesce(owed_sums.rejected, 0)::bigint as explanations_rejected,
    coalesce(owed_sums.not_compared, 0)::bigint as falls_not_compared,
    coalesce(explanation_sums.came, 0)::bigint as explanations_came,
    coalesce(promised.due, 0)::bigint as actions_due,
    coalesce(promised.done, 0)::bigint as actions_due_done,
    coalesce(promised.overdue, 0)::bigint as actions_due_overdue,
    coalesce(finished.done, 0)::bigint as actions_done,
    coalesce(explained.actions, 0)::bigint as actions_explained,
    coalesce(disputed.raised, 0)::bigint as disputes_raised,
    coalesce(disputed.before_cutoff, 0)::bigint as disputes_before_cutoff,
    coalesce(disputed.open, 0)::bigint as disputes_open,
    coalesce(disputed.accepted, 0)::bigint as disputes_accepted,
    coalesce(disputed.rejected, 0)::bigint as disputes_rejected
from windows
left join owed_sums on windows.period_code = owed_sums.period_code and windows.unit_code = owed_sums.unit_code
left join explanation_sums
    on windows.period_code = explanation_sums.period_code and windows.unit_code = explanation_sums.unit_code
left join promised on windows.period_code = promised.period_code and windows.unit_code = promised.unit_code
left join finished on windows.period_code = finished.period_code and windows.unit_code = finished.unit_code
left join explained on windows.period_code = explained.period_code and windows.unit_code = explained.unit_code
left join disputed on windows.period_code = disputed.period_code and windows.unit_code = disputed.unit_code
