-- Grain: one row per unit, stretch of days and kind of case that index B counts: days summed once for all windows they are in.
{{ config(
    unique_key=['stretch_start', 'unit_code', 'base_code', 'status_code', 'return_count', 'permitted_returns'],
    scope=in_touched_stretches('facts.fct_unit_stretch_b_case', 'result'),
    looks_up=true,
) }}

with stretches as (
    select * from {{ ref('core_window_stretch') }}
    {%- if is_increment() %}
    where stretch_start in ({{ touched_stretches('facts.fct_unit_stretch_b_case', 'result') }})
    {%- endif %}
),

cases as (
    select * from {{ ref('fct_unit_day_b_case') }}
)

select
    cases.unit_code::text as unit_code,
    stretches.stretch_start::date as stretch_start,
    stretches.stretch_end::date as stretch_end,
    cases.base_code::text as base_code,
    cases.status_code::text as status_code,
    cases.return_count::integer as return_count,
    cases.permitted_returns::integer as permitted_returns,
    sum(cases.dossiers)::bigint as dossiers
from stretches
inner join cases on stretches.stretch_start <= cases.event_on and stretches.stretch_end > cases.event_on
where not cases.is_excluded
group by
    cases.unit_code,
    stretches.stretch_start,
    stretches.stretch_end,
    cases.base_code,
    cases.status_code,
    cases.return_count,
    cases.permitted_returns
having sum(cases.dossiers) <> 0
