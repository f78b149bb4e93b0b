-- Grain: one row per period, unit and kind of evaluator: what was due first, then what came (Articles 5 to 8, 10).
{{ config(alias='evaluation', unique_key=['period_code', 'unit_code', 'evaluator_kind']) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

periods as (
    select * from {{ ref('dim_period') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

kinds as (
    select * from {{ ref('evaluator_kind') }}
),

cadences as (
    select * from {{ ref('evaluation_cadence') }}
),

duties as (
    select * from {{ ref('evaluator_duty') }}
),

lines as (
    select * from {{ ref('fct_evaluation') }}
),

feeds_read as (
    select distinct feed from batches
),

reached as (
    select {{ local_date('max(window_end)') }} - 1 as last_day
    from batches
),

-- Windows at some moment of which another unit was the competent authority.
supervised as (
    select distinct
        windows.period_code,
        windows.unit_code
    from windows
    inner join units on windows.unit_code = units.unit_code
    inner join duties
        on
            units.unit_kind = duties.evaluated_kind
            and windows.window_end > duties.valid_from
            and (duties.valid_to is null or windows.window_start < duties.valid_to)
    where windows.unit_code <> coalesce(duties.evaluator_unit_code, '')
),

due as (
    select
        windows.period_code,
        windows.unit_code,
        windows.policy_id,
        kinds.evaluator_kind,
        cadences.is_due,
        feeds_read.feed is not null as is_read,
        coalesce(periods.period_end - 1 > reached.last_day, false) as is_running,
        coalesce(
            {{ barred_by('windows', 'kinds') }},
            case
                when kinds.evaluator_kind = 'authority' and supervised.unit_code is null then 'no_competent_authority'
            end
        ) as barred_by
    from windows
    inner join periods on windows.period_code = periods.period_code
    inner join cadences on periods.period_kind = cadences.period_kind
    inner join kinds on cadences.evaluator_kind = kinds.evaluator_kind
    cross join reached
    left join feeds_read on kinds.feed = feeds_read.feed
    left join supervised
        on windows.period_code = supervised.period_code and windows.unit_code = supervised.unit_code
),

sums as (
    select
        period_code,
        unit_code,
        evaluator_kind,
        count(*) filter (where exclusion_reason is null) as line_count,
        count(distinct evaluator_code) filter (where exclusion_reason is null) as evaluator_count,
        sum(score) filter (where exclusion_reason is null) as score,
        sum(max_score) filter (where exclusion_reason is null) as max_score,
        min(rank) filter (where exclusion_reason is null) as rank,
        bool_or(is_small) filter (where exclusion_reason is null) as is_small,
        max(evaluated_on) filter (where exclusion_reason is null) as last_on,
        count(*) filter (where exclusion_reason = 'about_official') as official_sheet_count,
        count(*) filter (where exclusion_reason <> 'about_official') as left_out_count,
        string_agg(distinct exclusion_reason, ',' order by exclusion_reason)
        filter (where exclusion_reason <> 'about_official') as left_out_because
    from lines
    group by period_code, unit_code, evaluator_kind
),

told as (
    select
        due.*,
        due.barred_by is null and coalesce(sums.line_count, 0) > 0 as is_scored,
        coalesce(sums.line_count, 0) as line_count,
        coalesce(sums.evaluator_count, 0) as evaluator_count,
        sums.score,
        sums.max_score,
        sums.rank,
        coalesce(sums.is_small, false) as is_small,
        sums.last_on,
        coalesce(sums.official_sheet_count, 0) as official_sheet_count,
        coalesce(sums.left_out_count, 0) as left_out_count,
        sums.left_out_because
    from due
    left join sums
        on
            due.period_code = sums.period_code
            and due.unit_code = sums.unit_code
            and due.evaluator_kind = sums.evaluator_kind
),

explained as (
    select
        told.*,
        case
            when told.barred_by is not null then told.barred_by
            when told.is_scored then null
            when told.left_out_count > 0 then 'all_left_out'
            when told.official_sheet_count > 0 then 'about_officials_only'
            when not told.is_due then 'not_due'
            when not told.is_read then 'feed_not_read'
            when told.is_running then 'period_running'
            else 'none_came'
        end as status_reason
    from told
)

select
    period_code::text as period_code,
    unit_code::text as unit_code,
    evaluator_kind::text as evaluator_kind,
    policy_id::text as policy_id,
    (is_due and barred_by is null)::boolean as is_due,
    line_count::bigint as line_count,
    evaluator_count::bigint as evaluator_count,
    official_sheet_count::bigint as official_sheet_count,
    left_out_count::bigint as left_out_count,
    left_out_because::text as left_out_because,
    trim_scale(case when is_scored then score end)::numeric as score,
    trim_scale(case when is_scored then max_score end)::numeric as max_score,
    case when is_scored then round({{ quotient('score', 'max_score') }}, 15) end::numeric(20, 15) as share,
    case when is_scored then rank end::integer as rank,
    (is_scored and is_small)::boolean as is_small,
    case when is_scored then last_on end::date as last_on,
    coalesce(
        {{ barred_status('barred_by') }},
        case
            when status_reason is null then 'scored'
            when status_reason = 'not_due' then 'not_applicable'
            when status_reason in ('period_running', 'none_came') then 'awaiting_input'
            else 'no_data'
        end
    )::text as status,
    status_reason::text as status_reason
from explained
