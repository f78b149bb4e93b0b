-- Grain: one row per period, unit, index that it owes and set of readings of the parameters that touch it: the index so read.
{{ config(
    alias='index_reading',
    unique_key=['period_code', 'unit_code', 'index_code', 'set_code'],
    scope="held.period_code in (" ~ touched_periods(['result', 'rating']) ~ ")",
) }}

with duties as (
    select * from {{ ref('index_duty') }}
    where index_code <> 'K'
),

unit_windows as (
    select * from {{ ref('core_unit_window') }}
    {%- if is_increment() %}
    where period_code in ({{ touched_periods(['result', 'rating']) }})
    {%- endif %}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

sets as (
    select * from {{ ref('dim_reading_set') }}
),

stretches as (
    select * from {{ ref('core_window_stretch') }}
),

a_cases as (
    select * from {{ ref('fct_unit_stretch_a_case') }}
),

b_cases as (
    select * from {{ ref('fct_unit_stretch_b_case') }}
),

c_alone as (
    select * from {{ ref('fct_unit_stretch_c_case') }}
),

petitions as (
    select * from {{ ref('fct_d_petitions') }}
),

petition_counts as (
    select * from {{ ref('fct_d_petition_count') }}
),

postings as (
    select * from {{ ref('fct_e_posting') }}
),

posting_readings as (
    select * from {{ ref('fct_e_reading') }}
),

windows as (
    select unit_windows.*
    from unit_windows
    where not unit_windows.is_before_rule and not unit_windows.is_too_short
),

-- Days are summed by stretches, once for all windows; a year adds up a dozen of them.
window_stretches as (
    select
        windows.period_code,
        windows.unit_code,
        windows.policy_id,
        stretches.stretch_start
    from windows
    inner join stretches
        on windows.window_start <= stretches.stretch_start and windows.window_end >= stretches.stretch_end
),

a_sums as (
    select
        window_stretches.period_code,
        window_stretches.unit_code,
        a_cases.base_code,
        a_cases.status_code,
        a_cases.lateness,
        a_cases.is_inherited_overdue,
        sum(a_cases.dossiers) as dossiers
    from window_stretches
    inner join a_cases
        on
            window_stretches.unit_code = a_cases.unit_code
            and window_stretches.stretch_start = a_cases.stretch_start
    group by
        window_stretches.period_code, window_stretches.unit_code, a_cases.base_code, a_cases.status_code,
        a_cases.lateness, a_cases.is_inherited_overdue
),

-- What is counted under a set: the policy's own cases, and what its base reading adds to them or takes away.
a as (
    select
        windows.period_code,
        windows.unit_code,
        sets.index_code,
        sets.set_code,
        coalesce(sum(a_sums.dossiers * {{ a_point('a_sums.lateness', 'sets') }}), 0) as numerator,
        coalesce(sum(a_sums.dossiers), 0) as denominator,
        false as is_full_when_empty
    from windows
    inner join sets on windows.policy_id = sets.policy_id and sets.index_code = 'A'
    left join a_sums
        on
            windows.period_code = a_sums.period_code
            and windows.unit_code = a_sums.unit_code
            and a_sums.base_code in ('own', sets.base_code)
            and a_sums.status_code = any(string_to_array(sets.result_statuses, ','))
            and (sets.inherited_overdue = 'count' or not a_sums.is_inherited_overdue)
    group by windows.period_code, windows.unit_code, sets.index_code, sets.set_code
),

b_sums as (
    select
        window_stretches.period_code,
        window_stretches.unit_code,
        b_cases.base_code,
        b_cases.status_code,
        b_cases.return_count,
        b_cases.permitted_returns,
        sum(b_cases.dossiers) as dossiers
    from window_stretches
    inner join b_cases
        on
            window_stretches.unit_code = b_cases.unit_code
            and window_stretches.stretch_start = b_cases.stretch_start
    group by
        window_stretches.period_code, window_stretches.unit_code, b_cases.base_code, b_cases.status_code,
        b_cases.return_count, b_cases.permitted_returns
),

b_counted as (
    select
        windows.period_code,
        windows.unit_code,
        sets.index_code,
        sets.set_code,
        b_sums.dossiers,
        {{ b_point('b_sums', 'sets') }} as point,
        {{ b_is_left_out('b_sums', 'sets') }} as is_left_out
    from windows
    inner join policies on windows.policy_id = policies.policy_id
    inner join sets on windows.policy_id = sets.policy_id and sets.index_code = 'B'
    left join b_sums
        on
            windows.period_code = b_sums.period_code
            and windows.unit_code = b_sums.unit_code
            and b_sums.base_code in ('own', sets.base_code)
            and b_sums.status_code = any(string_to_array(sets.result_statuses, ','))
),

b as (
    select
        period_code,
        unit_code,
        index_code,
        set_code,
        coalesce(sum(dossiers * point) filter (where not is_left_out), 0) as numerator,
        coalesce(sum(dossiers) filter (where not is_left_out), 0) as denominator,
        coalesce(sum(dossiers) filter (where is_left_out), 0) > 0 as is_full_when_empty
    from b_counted
    group by period_code, unit_code, index_code, set_code
),

-- Most ratings stand alone: they are summed before they are read in every way.
c_sums as (
    select
        window_stretches.period_code,
        window_stretches.unit_code,
        window_stretches.policy_id,
        c_alone.question_code,
        c_alone.is_city_system,
        c_alone.status_code,
        c_alone.level_class,
        sum(c_alone.ratings) as ratings
    from window_stretches
    inner join c_alone
        on
            window_stretches.unit_code = c_alone.unit_code
            and window_stretches.stretch_start = c_alone.stretch_start
    group by
        window_stretches.period_code, window_stretches.unit_code, window_stretches.policy_id, c_alone.question_code,
        c_alone.is_city_system, c_alone.status_code, c_alone.level_class
),

-- Those of one dossier on one day: which is the last depends on which of them count.
c_cases as (
    select * from {{ ref('fct_unit_day_c_case') }}
    where dossier_code <> ''
),

c_sets as (
    select * from sets
    where index_code = 'C'
),

{{ attitude('c_sets', also=['set_code']) }},

c_counts as (
    select
        c_sums.period_code,
        c_sums.unit_code,
        c_sets.set_code,
        c_sums.ratings * {{ c_point('c_sums', 'c_sets') }} as points,
        c_sums.ratings
    from c_sums
    inner join c_sets on c_sums.policy_id = c_sets.policy_id
    where {{ c_is_counted('c_sums', 'c_sets') }}
    union all
    select
        windows.period_code,
        windows.unit_code,
        c_days.set_code,
        c_days.points,
        c_days.ratings
    from windows
    inner join c_days
        on
            windows.unit_code = c_days.unit_code
            and windows.policy_id = c_days.policy_id
            and windows.window_start <= c_days.event_on
            and windows.window_end > c_days.event_on
),

c as (
    select
        windows.period_code,
        windows.unit_code,
        c_sets.index_code,
        c_sets.set_code,
        coalesce(sum(c_counts.points), 0) as numerator,
        coalesce(sum(c_counts.ratings), 0) as denominator,
        false as is_full_when_empty
    from windows
    inner join c_sets on windows.policy_id = c_sets.policy_id
    left join c_counts
        on
            windows.period_code = c_counts.period_code
            and windows.unit_code = c_counts.unit_code
            and c_sets.set_code = c_counts.set_code
    group by windows.period_code, windows.unit_code, c_sets.index_code, c_sets.set_code
),

quotients as (
    select * from a
    union all
    select * from b
    union all
    select * from c
),

d_scores as (
    select
        windows.period_code,
        windows.unit_code,
        windows.policy_id,
        sets.index_code,
        sets.set_code,
        sets.d_definition,
        sets.d_zero_dossier,
        petitions.total_score,
        petitions.total_max_score,
        petitions.total_petitions,
        petitions.on_time_score,
        petitions.handling_score,
        petitions.dossier_score,
        petitions.dossier_denominator,
        {{ petition_score('counts.in_time', 'counts.counted_as_new', 'policies') }} as as_new_on_time_score,
        {{ petition_score('counts.satisfied', 'counts.counted_as_new', 'policies') }} as as_new_handling_score,
        petitions.unit_code is not null as has_portal_row
    from windows
    inner join policies on windows.policy_id = policies.policy_id
    inner join sets on windows.policy_id = sets.policy_id and sets.index_code = 'D'
    left join petitions on windows.period_code = petitions.period_code and windows.unit_code = petitions.unit_code
    left join petition_counts as counts
        on
            windows.period_code = counts.period_code
            and windows.unit_code = counts.unit_code
            and sets.base_code = counts.base_code
),

d_values as (
    select
        d_scores.*,
        case when d_scores.has_portal_row then {{ d_maximum('d_scores', 'd_scores', 'policies') }} end as maximum,
        {{ d_value('d_scores', 'd_scores', 'policies') }} as value
    from d_scores
    inner join policies on d_scores.policy_id = policies.policy_id
),

d as (
    select
        d_values.*,
        {{ d_missing_reason('d_values', 'd_values') }} as missing_reason
    from d_values
),

places as (
    select
        period_code,
        unit_code,
        'own' as set_code,
        result
    from postings
    union all
    select
        period_code,
        unit_code,
        set_code,
        result
    from posting_readings
),

e as (
    select
        windows.period_code,
        windows.unit_code,
        sets.index_code,
        sets.set_code,
        count(places.set_code) as required,
        count(places.result) as checked,
        count(*) filter (where places.result = 'pass') as passed
    from windows
    inner join sets on windows.policy_id = sets.policy_id and sets.index_code = 'E'
    left join places
        on
            windows.period_code = places.period_code
            and windows.unit_code = places.unit_code
            and sets.set_code = places.set_code
    group by windows.period_code, windows.unit_code, sets.index_code, sets.set_code
),

measured as (
    select
        period_code,
        unit_code,
        index_code,
        set_code,
        numerator,
        denominator,
        case
            when denominator > 0 then round({{ quotient('numerator', 'denominator') }}, 15)
            when is_full_when_empty then 1
        end as value,
        null::numeric as exact_value,
        case when denominator > 0 or is_full_when_empty then 'scored' else 'no_data' end as status
    from quotients
    union all
    select
        period_code,
        unit_code,
        index_code,
        set_code,
        round(value, 15) as numerator,
        maximum as denominator,
        round(value, 15) as value,
        value as exact_value,
        {{ d_status('d') }} as status
    from d
    union all
    select
        period_code,
        unit_code,
        index_code,
        set_code,
        case when required > 0 then passed end as numerator,
        case when required > 0 then required end as denominator,
        case when required > 0 and checked = required then (passed = required)::integer end as value,
        null::numeric as exact_value,
        case
            when required = 0 then 'not_applicable'
            when checked < required then 'awaiting_input'
            else 'scored'
        end as status
    from e
)

select
    measured.period_code::text as period_code,
    measured.unit_code::text as unit_code,
    measured.index_code::text as index_code,
    measured.set_code::text as set_code,
    sets.kind::text as kind,
    sets.size::integer as size,
    trim_scale(measured.numerator)::numeric as numerator,
    measured.denominator::numeric as denominator,
    measured.value::numeric(20, 15) as value,
    trim_scale(measured.exact_value)::numeric as exact_value,
    measured.status::text as status,
    windows.policy_id::text as policy_id
from measured
inner join windows on measured.period_code = windows.period_code and measured.unit_code = windows.unit_code
inner join duties on measured.index_code = duties.index_code
inner join sets
    on
        windows.policy_id = sets.policy_id
        and measured.index_code = sets.index_code
        and measured.set_code = sets.set_code
where {{ barred_by('windows', 'duties') }} is null
