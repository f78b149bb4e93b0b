-- Grain: one row per finished quarter or year, unit and official in charge of a dossier with an event of index A, B or C in it.
{{ config(unique_key=['period_code', 'unit_code', 'official']) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
    where not is_before_rule and not is_too_short
),

periods as (
    select * from {{ ref('dim_period') }}
),

-- Officials are scored for the periods in which they are evaluated within their unit.
cadences as (
    select * from {{ ref('evaluation_cadence') }}
    where evaluator_kind = 'internal' and is_due
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

dossiers as (
    select * from {{ ref('core_dossier') }}
    where resolving_unit_code is not null
),

named as (
    select * from {{ ref('stg_tthc__dossier_official') }}
),

results as (
    select * from {{ ref('fct_a_timeliness') }}
    where point is not null
),

guidance as (
    select * from {{ ref('fct_b_guidance') }}
    where point is not null
),

attitudes as (
    select * from {{ ref('fct_c_attitude') }}
    where point is not null
),

unit_days as (
    select * from {{ ref('fct_unit_day') }}
),

reached as (
    select
        least(
            {{ local_date("max(window_end) filter (where feed = 'dossier')") }},
            {{ local_date("max(window_end) filter (where feed = 'rating')") }}
        ) as read_until
    from batches
),

-- A period that is still running would tell each rating by the difference to the night before.
finished as (
    select
        windows.*,
        periods.period_kind,
        policies.c_min_ratings
    from windows
    inner join periods on windows.period_code = periods.period_code
    inner join cadences on periods.period_kind = cadences.period_kind
    inner join policies on windows.policy_id = policies.policy_id
    inner join reached on periods.period_end <= reached.read_until
),

-- The official in charge by the version in force, who belongs to the unit that resolves: no source names one for each step.
in_charge as (
    select
        dossiers.dossier_code,
        dossiers.resolving_unit_code as unit_code,
        named.official
    from dossiers
    inner join named on dossiers.dossier_code = named.record_key and dossiers.batch_id = named.batch_id
),

points as (
    select
        dossier_code,
        unit_code,
        result_on as event_on,
        point as a_point,
        null::numeric as b_point,
        null::numeric as c_point
    from results
    union all
    select
        dossier_code,
        unit_code,
        result_on as event_on,
        null::numeric as a_point,
        point as b_point,
        null::numeric as c_point
    from guidance
    union all
    select
        dossier_code,
        unit_code,
        rated_on as event_on,
        null::numeric as a_point,
        null::numeric as b_point,
        point as c_point
    from attitudes
),

-- What counts for another unit, the receiving one or the one rated, is not this official's.
events as (
    select
        in_charge.unit_code,
        in_charge.official,
        points.event_on,
        points.a_point,
        points.b_point,
        points.c_point
    from points
    inner join in_charge
        on points.dossier_code = in_charge.dossier_code and points.unit_code = in_charge.unit_code
),

-- By day first: few days, many dossiers. They reach no table: single days would tell how single people rated.
official_days as (
    select
        unit_code,
        official,
        event_on,
        coalesce(sum(a_point), 0) as a_points,
        count(a_point) as a_dossiers,
        coalesce(sum(b_point), 0) as b_points,
        count(b_point) as b_dossiers,
        coalesce(sum(c_point), 0) as c_points,
        count(c_point) as c_ratings
    from events
    group by unit_code, official, event_on
),

sums as (
    select
        finished.period_code,
        finished.unit_code,
        official_days.official,
        sum(official_days.a_points) as a_points,
        sum(official_days.a_dossiers) as a_dossiers,
        sum(official_days.b_points) as b_points,
        sum(official_days.b_dossiers) as b_dossiers,
        sum(official_days.c_points) as c_points,
        sum(official_days.c_ratings) as c_ratings
    from finished
    inner join official_days
        on
            finished.unit_code = official_days.unit_code
            and finished.window_start <= official_days.event_on
            and finished.window_end > official_days.event_on
    group by finished.period_code, finished.unit_code, official_days.official
),

unit_sums as (
    select
        finished.period_code,
        finished.unit_code,
        sum(unit_days.c_ratings) as c_ratings
    from finished
    inner join unit_days
        on
            finished.unit_code = unit_days.unit_code
            and finished.window_start <= unit_days.event_on
            and finished.window_end > unit_days.event_on
    group by finished.period_code, finished.unit_code
),

told as (
    select
        sums.*,
        finished.period_kind,
        finished.calendar_code,
        finished.policy_id,
        finished.period_start,
        finished.period_end,
        finished.c_min_ratings,
        unit_sums.c_ratings as unit_c_ratings
    from sums
    inner join finished on sums.period_code = finished.period_code and sums.unit_code = finished.unit_code
    left join unit_sums on sums.period_code = unit_sums.period_code and sums.unit_code = unit_sums.unit_code
),

-- Quarters first. What is left of the unit's ratings must not be few either: then its smallest official is withheld too.
quarters as (
    select
        told.*,
        told.c_ratings >= told.c_min_ratings as is_enough,
        told.unit_c_ratings
        - sum(case when told.c_ratings >= told.c_min_ratings then told.c_ratings else 0 end) over unit_period as c_left,
        row_number() over (
            partition by told.period_code, told.unit_code
            order by told.c_ratings < told.c_min_ratings, told.c_ratings, told.official collate "C" -- noqa: RF02,RF03
        ) as smallness
    from told
    where told.period_kind = 'quarter'
    window unit_period as (partition by told.period_code, told.unit_code)
),

judged_quarters as (
    select
        quarters.*,
        case
            when quarters.c_ratings = 0 then null
            when not quarters.is_enough then 'few_ratings'
            when quarters.smallness = 1 and quarters.c_left > 0 and quarters.c_left < quarters.c_min_ratings
                then 'few_of_others'
        end as c_withheld_because
    from quarters
),

-- The year pools its four quarters; less the quarters that are told it must leave nothing, or enough.
year_remains as (
    select
        years.period_code,
        years.unit_code,
        years.official,
        max(years.c_ratings) - coalesce(sum(judged_quarters.c_ratings), 0) as c_remaining
    from told as years
    left join judged_quarters
        on
            years.unit_code = judged_quarters.unit_code
            and years.official = judged_quarters.official
            and years.calendar_code = judged_quarters.calendar_code
            and years.period_start <= judged_quarters.period_start
            and years.period_end >= judged_quarters.period_end
            and judged_quarters.c_ratings > 0
            and judged_quarters.c_withheld_because is null
    where years.period_kind <> 'quarter'
    group by years.period_code, years.unit_code, years.official
),

open_years as (
    select
        told.*,
        case
            when told.c_ratings = 0 then null
            when told.c_ratings < told.c_min_ratings then 'few_ratings'
            when year_remains.c_remaining > 0 and year_remains.c_remaining < told.c_min_ratings then 'few_in_quarters'
        end as own_reason
    from told
    inner join year_remains
        on
            told.period_code = year_remains.period_code
            and told.unit_code = year_remains.unit_code
            and told.official = year_remains.official
),

ranked_years as (
    select
        open_years.*,
        open_years.unit_c_ratings
        - sum(case when open_years.own_reason is null then open_years.c_ratings else 0 end) over unit_period as c_left,
        row_number() over (
            partition by open_years.period_code, open_years.unit_code
            order by
                open_years.own_reason is not null or open_years.c_ratings = 0,
                open_years.c_ratings,
                open_years.official collate "C" -- noqa: RF02,RF03
        ) as smallness
    from open_years
    window unit_period as (partition by open_years.period_code, open_years.unit_code)
),

judged_years as (
    select
        ranked_years.*,
        case
            when ranked_years.own_reason is not null then ranked_years.own_reason
            when
                ranked_years.c_ratings > 0 and ranked_years.smallness = 1
                and ranked_years.c_left > 0 and ranked_years.c_left < ranked_years.c_min_ratings
                then 'few_of_others'
        end as c_withheld_because
    from ranked_years
),

judged as (
    select
        period_code,
        unit_code,
        official,
        policy_id,
        a_points,
        a_dossiers,
        b_points,
        b_dossiers,
        c_points,
        c_ratings,
        c_withheld_because
    from judged_quarters
    union all
    select
        period_code,
        unit_code,
        official,
        policy_id,
        a_points,
        a_dossiers,
        b_points,
        b_dossiers,
        c_points,
        c_ratings,
        c_withheld_because
    from judged_years
),

keyed as (
    select
        judged.*,
        split_part(judged.official, ':', 1) as key_id
    from judged
)

select
    period_code::text as period_code,
    unit_code::text as unit_code,
    official::text as official,
    policy_id::text as policy_id,
    key_id::text as key_id,
    (min(key_id) over unit_period <> max(key_id) over unit_period)::boolean as is_split_by_key,
    trim_scale(a_points)::numeric as a_points,
    a_dossiers::bigint as a_dossiers,
    round({{ quotient('a_points', 'a_dossiers') }}, 15)::numeric(20, 15) as a,
    trim_scale(b_points)::numeric as b_points,
    b_dossiers::bigint as b_dossiers,
    round({{ quotient('b_points', 'b_dossiers') }}, 15)::numeric(20, 15) as b,
    trim_scale(case when c_withheld_because is null then c_points end)::numeric as c_points,
    case when c_withheld_because is null then c_ratings end::bigint as c_ratings,
    case
        when c_withheld_because is null then round({{ quotient('c_points', 'c_ratings') }}, 15)
    end::numeric(20, 15) as c,
    c_withheld_because::text as c_withheld_because,
    {{ as_of_batch() }}::bigint as as_of_batch
from keyed
window unit_period as (partition by period_code, unit_code)
