-- The metrics inside the version in force of every evaluation.
with evaluations as (
    {{ version_in_force(source('raw', 'portal_evaluation')) }}
)

select
    evaluations.record_key,
    evaluations.group_code,
    item.content ->> 'code' as metric_code,
    (item.content ->> 'numerator')::numeric as numerator,
    (item.content ->> 'denominator')::numeric as denominator,
    (item.content ->> 'score')::numeric as score,
    (item.content ->> 'max_score')::numeric as max_score
from evaluations
cross join lateral jsonb_array_elements(evaluations.metrics) as item (content)
where evaluations.op = 'upsert' and jsonb_typeof(evaluations.metrics) = 'array'
