-- Grain: one row per window of the portal's satisfaction group: the city's own row in the latest answer (window_to inclusive).
{{ config(unique_key=['window_from', 'window_to']) }}

with evaluations as (
    select * from {{ ref('stg_portal__evaluation') }}
    where is_overview
),

roles as (
    select * from {{ ref('portal_metric') }}
),

methods as (
    select distinct
        roles.group_code,
        roles.metric_version
    from roles
),

newest as (
    select distinct on (evaluations.window_from, evaluations.window_to) evaluations.*
    from evaluations
    inner join methods
        on evaluations.group_code = methods.group_code and evaluations.metric_version = methods.metric_version
    order by evaluations.window_from, evaluations.window_to, evaluations.batch_id desc, evaluations.record_key
)

select
    window_from::date as window_from,
    window_to::date as window_to,
    department_id::text as department_id,
    total_score::numeric as total_score,
    total_max_score::numeric as total_max_score,
    total_petitions::bigint as total_petitions,
    total_dossiers::bigint as total_dossiers,
    metric_version::text as metric_version,
    retrieved_at::timestamptz as retrieved_at
from newest
