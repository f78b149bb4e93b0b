-- Grain: one row per period and scored unit active at any moment of it, whatever the data say.
{{ config(unique_key=['period_code', 'unit_code'], post_hook="{{ note_periods() }}") }}

with periods as (
    select * from {{ ref('dim_period') }}
),

units as (
    select * from {{ ref('dim_unit') }}
    where is_scored
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

active as (
    select
        periods.period_code,
        periods.calendar_code,
        periods.period_start,
        periods.period_end,
        periods.policy_id,
        periods.policy_valid_from,
        periods.policy_valid_to,
        units.unit_code,
        units.parent_unit_code is not null as is_sub_unit,
        units.is_receiving_only,
        units.posting_places,
        greatest(periods.period_start, units.valid_from) as unit_start,
        least(periods.period_end, units.valid_to) as unit_end
    from periods
    inner join units
        on
            periods.period_end > units.valid_from
            and (units.valid_to is null or periods.period_start < units.valid_to)
),

ruled as (
    select
        active.*,
        active.unit_end <= active.policy_valid_from
        or (active.policy_valid_to is not null and active.unit_start >= active.policy_valid_to) as is_before_rule
    from active
),

windows as (
    select
        ruled.*,
        case
            when ruled.is_before_rule then ruled.unit_start
            else greatest(ruled.unit_start, ruled.policy_valid_from)
        end as window_start,
        case
            when ruled.is_before_rule then ruled.unit_end
            else least(ruled.unit_end, ruled.policy_valid_to)
        end as window_end
    from ruled
)

select
    windows.period_code::text as period_code,
    windows.calendar_code::text as calendar_code,
    windows.unit_code::text as unit_code,
    windows.policy_id::text as policy_id,
    windows.period_start::date as period_start,
    windows.period_end::date as period_end,
    windows.window_start::date as window_start,
    windows.window_end::date as window_end,
    (windows.window_end - windows.window_start)::integer as window_days,
    nullif(concat_ws(
        ';',
        case when windows.unit_start > windows.period_start then 'unit_started' end,
        case when windows.unit_end < windows.period_end then 'unit_ended' end,
        case
            when windows.is_before_rule then null
            when windows.policy_valid_from > windows.period_start then 'policy_started'
        end,
        case
            when windows.is_before_rule then null
            when windows.policy_valid_to < windows.period_end then 'policy_ended'
        end
    ), '')::text as window_clipped,
    windows.is_before_rule::boolean as is_before_rule,
    (windows.window_end - windows.window_start < policies.min_window_days)::boolean as is_too_short,
    windows.is_sub_unit::boolean as is_sub_unit,
    windows.is_receiving_only::boolean as is_receiving_only,
    windows.posting_places::text as posting_places
from windows
inner join policies on windows.policy_id = policies.policy_id
