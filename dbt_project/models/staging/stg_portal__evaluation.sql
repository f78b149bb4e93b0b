-- `retrieved_at`: when the window was last read whole; an answer that did not change is not written again.
with evaluations as (
    {{ version_in_force(source('raw', 'portal_evaluation')) }}
),

snapshots as (
    select
        group_code,
        window_from,
        window_to,
        max(retrieved_at) as retrieved_at
    from {{ source('ops', 'snapshot') }}
    where {{ as_of() }}
    group by group_code, window_from, window_to
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
    greatest(evaluations.retrieved_at, snapshots.retrieved_at) as retrieved_at
from evaluations
left join snapshots
    on
        evaluations.group_code = snapshots.group_code
        and evaluations.window_from = snapshots.window_from
        and evaluations.window_to = snapshots.window_to
left join code on evaluations.department_id = code.source_code
where evaluations.op = 'upsert'
