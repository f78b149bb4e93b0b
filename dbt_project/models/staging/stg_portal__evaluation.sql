with evaluations as (
    {{ version_in_force(source('raw', 'portal_evaluation')) }}
),

code as (
    select * from {{ ref('stg_register__code') }}
    where system = 'portal' and code_kind = 'unit'
)

select
    evaluations.record_key,
    evaluations.batch_id,
    evaluations.group_code,
    evaluations.window_from,
    evaluations.window_to,
    evaluations.department_id,
    evaluations.department_name,
    evaluations.is_overview,
    code.target_code as unit_code,
    evaluations.total_score,
    evaluations.total_max_score,
    evaluations.total_petitions,
    evaluations.total_dossiers,
    evaluations.metric_version,
    evaluations.retrieved_at
from evaluations
left join code on evaluations.department_id = code.source_code
where evaluations.op = 'upsert'
