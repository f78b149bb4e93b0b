-- Grain: one row per unit, group of the portal's evaluation, window and method: the latest answer (window_to inclusive).
{{ config(unique_key=['unit_code', 'group_code', 'window_from', 'window_to', 'metric_version']) }}

with evaluations as (
    select * from {{ ref('stg_portal__evaluation') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

-- Two departments of the portal may be one unit of ours: the later answer counts.
newest as (
    select distinct on (
        units.unit_code, evaluations.group_code, evaluations.window_from, evaluations.window_to,
        evaluations.metric_version
    )
        evaluations.*,
        units.unit_code as known_unit_code
    from evaluations
    inner join units on evaluations.unit_code = units.unit_code
    where not coalesce(evaluations.is_overview, false) and evaluations.metric_version is not null
    order by
        units.unit_code,
        evaluations.group_code,
        evaluations.window_from,
        evaluations.window_to,
        evaluations.metric_version,
        evaluations.batch_id desc,
        evaluations.record_key
)

select
    known_unit_code::text as unit_code,
    group_code::text as group_code,
    window_from::date as window_from,
    window_to::date as window_to,
    metric_version::text as metric_version,
    record_key::text as record_key,
    department_id::text as department_id,
    total_score::numeric as total_score,
    total_max_score::numeric as total_max_score,
    retrieved_at::timestamptz as retrieved_at
from newest
