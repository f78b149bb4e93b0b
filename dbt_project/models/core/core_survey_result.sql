-- Grain: one row per survey, unit and question of an organisation (Articles 5.5, 7.4, 17): sums, never single answers.
{{ config(unique_key='result_id') }}

with results as (
    select * from {{ ref('stg_survey__result') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    results.result_id::text as result_id,
    units.unit_code::text as unit_code,
    results.organisation_code::text as organisation_code,
    results.survey_code::text as survey_code,
    results.question_code::text as question_code,
    results.respondent_count::integer as respondent_count,
    results.satisfied_count::integer as satisfied_count,
    results.surveyed_from::date as surveyed_from,
    results.surveyed_to::date as surveyed_to,
    results.batch_id::bigint as batch_id,
    results.first_batch_id::bigint as first_batch_id
from results
left join units on results.unit_code = units.unit_code
