-- Surveys of social organisations, summed by unit and question (Articles 5.5, 7.4, 17).
with results as (
    {{ version_in_force(source('raw', 'survey_result')) }}
)

select
    results.record_key,
    results.batch_id,
    results.first_batch_id,
    results.result_id,
    {{ target_of('survey', 'unit', 'results.unit_source_code') }} as unit_code,
    {{ target_of('survey', 'organisation', 'results.organisation_code') }} as organisation_code,
    results.survey_code,
    results.question_code,
    results.respondent_count,
    results.satisfied_count,
    results.surveyed_from,
    results.surveyed_to
from results
where results.op = 'upsert'
