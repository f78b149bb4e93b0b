-- Grain: one row per line of an evaluation by others or by the unit itself, and period it belongs to: population, exclusion, score.
{{ config(
    unique_key=['evaluator_kind', 'record_key', 'period_code'],
    indexes=[{'columns': ['period_code', 'unit_code']}],
) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

duties as (
    select * from {{ ref('evaluator_duty') }}
),

internal_sheets as (
    select * from {{ ref('core_internal_evaluation') }}
),

authority_sheets as (
    select * from {{ ref('core_authority_evaluation') }}
),

own_lines as (
    select * from {{ ref('core_self_evaluation') }}
),

survey_results as (
    select * from {{ ref('core_survey_result') }}
),

-- These name their period.
named as (
    select
        'internal' as evaluator_kind,
        sheet_id as record_key,
        unit_code,
        period_code,
        unit_code as evaluator_code,
        sub_unit_name as criterion_code,
        is_about_official,
        score,
        max_score,
        null::integer as rank,
        evaluated_on
    from internal_sheets
    union all
    select
        'authority' as evaluator_kind,
        sheet_id as record_key,
        unit_code,
        period_code,
        evaluator_unit_code as evaluator_code,
        criterion_code,
        false as is_about_official,
        score,
        max_score,
        rank,
        evaluated_on
    from authority_sheets
    union all
    select
        'self' as evaluator_kind,
        line_id as record_key,
        unit_code,
        period_code,
        unit_code as evaluator_code,
        criterion_code,
        false as is_about_official,
        score,
        max_score,
        null::integer as rank,
        evaluated_on
    from own_lines
),

-- A survey belongs to the month, quarter and year in which it ended.
placed as (
    select
        named.*,
        windows.policy_id,
        windows.window_end - 1 as last_day
    from named
    inner join windows on named.period_code = windows.period_code and named.unit_code = windows.unit_code
    union all
    select
        'organisation' as evaluator_kind,
        survey_results.result_id as record_key,
        survey_results.unit_code,
        windows.period_code,
        survey_results.organisation_code as evaluator_code,
        concat_ws('/', survey_results.survey_code, survey_results.question_code) as criterion_code,
        false as is_about_official,
        survey_results.satisfied_count as score,
        survey_results.respondent_count as max_score,
        null::integer as rank,
        survey_results.surveyed_to as evaluated_on,
        windows.policy_id,
        windows.window_end - 1 as last_day
    from survey_results
    inner join windows
        on
            survey_results.unit_code = windows.unit_code
            and survey_results.surveyed_to >= windows.window_start
            and survey_results.surveyed_to < windows.window_end
),

-- Who was competent on the day of the evaluation; a sheet without a day was made for the end of its window.
competent as (
    select distinct
        placed.record_key,
        placed.period_code
    from placed
    inner join units as evaluated on placed.unit_code = evaluated.unit_code
    inner join units as evaluator on placed.evaluator_code = evaluator.unit_code
    inner join duties
        on
            evaluated.unit_kind = duties.evaluated_kind
            and coalesce(placed.evaluated_on, placed.last_day) >= duties.valid_from
            and (duties.valid_to is null or coalesce(placed.evaluated_on, placed.last_day) < duties.valid_to)
            and (
                evaluator.unit_code = duties.evaluator_unit_code or evaluator.unit_kind = duties.evaluator_kind
            )
    where placed.evaluator_kind = 'authority'
),

judged as (
    select
        placed.*,
        placed.evaluator_kind = 'organisation' and placed.max_score < policies.c_min_ratings as is_small,
        case
            when placed.is_about_official then 'about_official'
            when placed.evaluator_kind = 'authority' and placed.evaluator_code is null then 'evaluator_unknown'
            when placed.evaluator_kind = 'authority' and placed.evaluator_code = placed.unit_code then 'own_evaluation'
            when placed.evaluator_kind = 'authority' and competent.record_key is null then 'evaluator_not_competent'
            when placed.score is null or coalesce(placed.max_score, 0) = 0 then 'no_score'
            when placed.score < 0 or placed.score > placed.max_score then 'score_out_of_range'
        end as exclusion_reason
    from placed
    inner join policies on placed.policy_id = policies.policy_id
    left join competent on placed.record_key = competent.record_key and placed.period_code = competent.period_code
)

select
    evaluator_kind::text as evaluator_kind,
    record_key::text as record_key,
    period_code::text as period_code,
    unit_code::text as unit_code,
    policy_id::text as policy_id,
    evaluator_code::text as evaluator_code,
    criterion_code::text as criterion_code,
    score::numeric as score,
    max_score::numeric as max_score,
    rank::integer as rank,
    coalesce(is_small, false)::boolean as is_small,
    evaluated_on::date as evaluated_on,
    exclusion_reason::text as exclusion_reason
from judged
