-- Grain: one row per period, unit and index: who must be scored first, then what the data say.
{{ config(
    alias='index_score',
    unique_key=['period_code', 'unit_code', 'index_code'],
    scope="held.period_code in (" ~ touched_periods(['result', 'rating']) ~ ")",
) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
    {%- if is_increment() %}
    where period_code in ({{ touched_periods(['result', 'rating']) }})
    {%- endif %}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

duties as (
    select * from {{ ref('index_duty') }}
    where index_code <> 'K'
),

unit_days as (
    select * from {{ ref('fct_unit_day') }}
),

petitions as (
    select * from {{ ref('fct_d_petitions') }}
),

postings as (
    select * from {{ ref('fct_e_posting') }}
),

event_sums as (
    select
        windows.period_code,
        windows.unit_code,
        windows.policy_id,
        coalesce(sum(unit_days.a_points), 0) as a_points,
        coalesce(sum(unit_days.a_dossiers), 0) as a_dossiers,
        coalesce(sum(unit_days.a_excluded), 0) as a_excluded,
        coalesce(sum(unit_days.b_points), 0) as b_points,
        coalesce(sum(unit_days.b_dossiers), 0) as b_dossiers,
        coalesce(sum(unit_days.b_excluded), 0) as b_excluded,
        coalesce(sum(unit_days.b_not_returned), 0) as b_not_returned,
        coalesce(sum(unit_days.c_points), 0) as c_points,
        coalesce(sum(unit_days.c_ratings), 0) as c_ratings,
        coalesce(sum(unit_days.c_excluded), 0) as c_excluded
    from windows
    left join unit_days
        on
            windows.unit_code = unit_days.unit_code
            and windows.window_start <= unit_days.event_on
            and windows.window_end > unit_days.event_on
    group by windows.period_code, windows.unit_code, windows.policy_id
),

events as (
    select
        event_sums.period_code,
        event_sums.unit_code,
        measure.index_code,
        measure.numerator,
        measure.denominator,
        measure.excluded,
        case
            when measure.denominator > 0 then round({{ quotient('measure.numerator', 'measure.denominator') }}, 15)
            when measure.is_full_when_empty then measure.maximum
        end as value,
        case when measure.denominator > 0 or measure.is_full_when_empty then 'scored' else 'no_data' end as status,
        case when measure.denominator = 0 and not measure.is_full_when_empty then measure.no_data_reason end
            as status_reason
    from event_sums
    inner join policies on event_sums.policy_id = policies.policy_id
    cross join lateral (
        values
        (
            'A', event_sums.a_points, event_sums.a_dossiers, event_sums.a_excluded, 'no_resolved_dossier',
            false, policies.a_max
        ),
        (
            'B', event_sums.b_points, event_sums.b_dossiers, event_sums.b_excluded, 'no_resolved_dossier',
            event_sums.b_not_returned > 0, policies.b_max
        ),
        ('C', event_sums.c_points, event_sums.c_ratings, event_sums.c_excluded, 'no_rating', false, policies.c_max)
    ) as measure (
        index_code, numerator, denominator, excluded, no_data_reason, is_full_when_empty, maximum
    )
),

d as (
    select
        windows.period_code,
        windows.unit_code,
        'D' as index_code,
        round(petitions.value, 15) as numerator,
        petitions.maximum as denominator,
        null::bigint as excluded,
        petitions.value,
        {{ d_status('petitions') }} as status,
        case when petitions.unit_code is null then 'no_portal_row' else petitions.missing_reason end as status_reason
    from windows
    left join petitions on windows.period_code = petitions.period_code and windows.unit_code = petitions.unit_code
),

e_sums as (
    select
        windows.period_code,
        windows.unit_code,
        count(postings.place_code) as required,
        count(*) filter (where postings.result = 'pass') as passed,
        string_agg(postings.place_code, ',' order by postings.place_code collate "C") -- noqa: RF02
        filter (where postings.result is null)
            as unchecked
    from windows
    left join postings on windows.period_code = postings.period_code and windows.unit_code = postings.unit_code
    group by windows.period_code, windows.unit_code
),

e as (
    select
        period_code,
        unit_code,
        'E' as index_code,
        case when required > 0 then passed end as numerator,
        case when required > 0 then required end as denominator,
        null::bigint as excluded,
        case when required > 0 and unchecked is null then (passed = required)::integer end as value,
        case
            when required = 0 then 'not_applicable'
            when unchecked is not null then 'awaiting_input'
            else 'scored'
        end as status,
        case
            when required = 0 then 'no_posting_place'
            when unchecked is not null then 'posting_unchecked:' || unchecked
        end as status_reason
    from e_sums
),

measured as (
    select * from events
    union all
    select * from d
    union all
    select * from e
),

-- What stands before the data: no rule yet, or no such duty.
due as (
    select
        windows.period_code,
        windows.calendar_code,
        windows.unit_code,
        windows.policy_id,
        windows.window_start,
        windows.window_end,
        duties.index_code,
        {{ barred_by('windows', 'duties') }} as barred_by
    from windows
    cross join duties
)

select
    due.period_code::text as period_code,
    due.calendar_code::text as calendar_code,
    due.unit_code::text as unit_code,
    due.index_code::text as index_code,
    trim_scale(case when due.barred_by is null then measured.numerator end)::numeric as numerator,
    case when due.barred_by is null then measured.denominator end::numeric as denominator,
    case when due.barred_by is null then measured.excluded end::bigint as excluded,
    case when due.barred_by is null then measured.value end::numeric(20, 15) as value,
    coalesce({{ barred_status('due.barred_by') }}, measured.status)::text as status,
    coalesce(due.barred_by, measured.status_reason)::text as status_reason,
    due.policy_id::text as policy_id,
    due.window_start::date as window_start,
    due.window_end::date as window_end
from due
inner join measured
    on
        due.period_code = measured.period_code
        and due.unit_code = measured.unit_code
        and due.index_code = measured.index_code
