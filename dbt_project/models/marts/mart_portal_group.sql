-- Grain: one row per unit, group of the portal's evaluation, window of the portal and method: context beside K, never in it.
{{ config(
    alias='portal_group', unique_key=['unit_code', 'group_code', 'window_from', 'window_to', 'metric_version']
) }}

with answers as (
    select * from {{ ref('core_portal_group') }}
),

metrics as (
    select * from {{ ref('core_portal_metric') }}
),

groups as (
    select * from {{ ref('portal_group') }}
),

periods as (
    select * from {{ ref('dim_period') }}
),

parts as (
    select
        record_key,
        jsonb_agg(
            jsonb_build_object(
                'code', metric_code, 'numerator', numerator, 'denominator', denominator, 'score', score,
                'max_score', max_score
            ) order by metric_code collate "C" -- noqa: RF02
        ) as metrics
    from metrics
    group by record_key
),

-- By its name a group is one index; two of them are told apart by their most points, whatever they are called.
told as (
    select
        answers.*,
        named.index_code as named_index_code,
        coalesce(told_apart.index_code, named.index_code) as index_code,
        coalesce(told_apart.maximum, named.maximum) as maximum,
        parts.metrics,
        periods.period_code,
        periods.period_kind
    from answers
    left join groups as named on answers.group_code = named.group_code
    left join groups as told_apart
        on
            named.is_told_by_maximum
            and told_apart.is_told_by_maximum
            and answers.total_max_score = told_apart.maximum
    left join parts on answers.record_key = parts.record_key
    left join periods on answers.window_from = periods.period_start and answers.window_to + 1 = periods.period_end
),

dated as (
    select
        told.*,
        case
            when told.period_kind is not null then told.period_kind
            when told.window_from <> date_trunc('month', told.window_from)::date then 'other'
            when told.window_to + 1 = (told.window_from + interval '1 month')::date then 'month'
            when
                told.window_to + 1 = (told.window_from + interval '3 months')::date
                and told.window_from = date_trunc('quarter', told.window_from)::date
                then 'quarter'
            when
                told.window_to + 1 = (told.window_from + interval '1 year')::date
                and told.window_from = date_trunc('year', told.window_from)::date
                then 'year'
            else 'other'
        end as window_kind
    from told
)

select
    unit_code::text as unit_code,
    group_code::text as group_code,
    window_from::date as window_from,
    window_to::date as window_to,
    metric_version::text as metric_version,
    window_kind::text as window_kind,
    period_code::text as period_code,
    index_code::text as index_code,
    (index_code <> named_index_code)::boolean as is_swapped,
    total_score::numeric as score,
    total_max_score::numeric as max_score,
    round({{ quotient('total_score', 'total_max_score') }}, 15)::numeric(20, 15) as share,
    (total_max_score is distinct from maximum)::boolean as is_maximum_odd,
    case when total_score is not null then 'scored' else 'no_data' end::text as status,
    coalesce(metrics, '[]')::jsonb as metrics,
    ({{ local_date('retrieved_at') }} > window_to)::boolean as is_window_over,
    retrieved_at::timestamptz as retrieved_at,
    department_id::text as department_id
from dated
