-- Grain: one row per unit and window of the portal's satisfaction group, the latest answer (window_to inclusive).
-- Only answers by the method that the roles are known of: the old one gave a total without its parts.
{{ config(unique_key=['unit_code', 'window_from', 'window_to']) }}

with evaluations as (
    select * from {{ ref('stg_portal__evaluation') }}
),

metrics as (
    select * from {{ ref('stg_portal__metric') }}
),

roles as (
    select * from {{ ref('portal_metric') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

methods as (
    select distinct
        roles.group_code,
        roles.metric_version
    from roles
),

-- Two departments of the portal may be one unit of ours: the later answer counts.
newest as (
    select distinct on (units.unit_code, evaluations.window_from, evaluations.window_to)
        evaluations.*,
        units.unit_code as known_unit_code
    from evaluations
    inner join units on evaluations.unit_code = units.unit_code
    inner join methods
        on evaluations.group_code = methods.group_code and evaluations.metric_version = methods.metric_version
    order by
        units.unit_code,
        evaluations.window_from,
        evaluations.window_to,
        evaluations.batch_id desc,
        evaluations.record_key
),

counted as (
    select
        {% for metric in ['on_time', 'handling', 'dossier'] %}
        max(metrics.numerator) filter (where roles.metric = '{{ metric }}') as {{ metric }}_numerator,
        max(metrics.denominator) filter (where roles.metric = '{{ metric }}') as {{ metric }}_denominator,
        max(metrics.score) filter (where roles.metric = '{{ metric }}') as {{ metric }}_score,
        {% endfor %}
        metrics.record_key
    from metrics
    inner join roles on metrics.group_code = roles.group_code and metrics.metric_code = roles.metric_code
    group by metrics.record_key
)

select
    newest.known_unit_code::text as unit_code,
    newest.window_from::date as window_from,
    newest.window_to::date as window_to,
    newest.department_id::text as department_id,
    newest.total_score::numeric as total_score,
    newest.total_max_score::numeric as total_max_score,
    newest.total_petitions::bigint as total_petitions,
    newest.total_dossiers::bigint as total_dossiers,
    counted.on_time_numerator::bigint as on_time_numerator,
    counted.on_time_denominator::bigint as on_time_denominator,
    counted.on_time_score::numeric as on_time_score,
    counted.handling_numerator::bigint as handling_numerator,
    counted.handling_denominator::bigint as handling_denominator,
    counted.handling_score::numeric as handling_score,
    counted.dossier_numerator::bigint as dossier_numerator,
    counted.dossier_denominator::bigint as dossier_denominator,
    counted.dossier_score::numeric as dossier_score,
    newest.metric_version::text as metric_version,
    newest.retrieved_at::timestamptz as retrieved_at
from newest
left join counted on newest.record_key = counted.record_key
