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

stretch_readings as (
    select * from {{ ref('fct_unit_stretch_reading') }}
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

sums as (
    select
        window_stretches.period_code,
        window_stretches.unit_code,
        stretch_readings.index_code,
        stretch_readings.set_code,
        sum(stretch_readings.numerator) as numerator,
        sum(stretch_readings.denominator) as denominator,
        sum(stretch_readings.left_out) as left_out
    from window_stretches
    inner join stretch_readings
        on
            window_stretches.unit_code = stretch_readings.unit_code
            and window_stretches.stretch_start = stretch_readings.stretch_start
            and window_stretches.policy_id = stretch_readings.policy_id
    group by
        window_stretches.period_code, window_stretches.unit_code, stretch_readings.index_code, stretch_readings.set_code
),

quotients as (
    select
        windows.period_code,
        windows.unit_code,
        sets.index_code,
        sets.set_code,
        coalesce(sums.numerator, 0) as numerator,
        coalesce(sums.denominator, 0) as denominator,
        coalesce(sums.left_out, 0) > 0 as is_full_when_empty
    from windows
    inner join sets on windows.policy_id = sets.policy_id
    inner join duties on sets.index_code = duties.index_code and duties.is_quotient
    left join sums
        on
            windows.period_code = sums.period_code
            and windows.unit_code = sums.unit_code
            and sets.index_code = sums.index_code
            and sets.set_code = sums.set_code
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
