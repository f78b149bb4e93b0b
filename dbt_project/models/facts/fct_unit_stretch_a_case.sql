-- Grain: one row per unit, stretch of days and kind of case that index A counts: days summed once for all windows they are in.
{{ config(
    unique_key=['stretch_start', 'unit_code', 'base_code', 'status_code', 'lateness', 'is_inherited_overdue'],
    scope=in_touched_stretches('facts.fct_unit_stretch_a_case', 'result'),
    looks_up=true,
) }}

with stretches as (
    select * from {{ ref('core_window_stretch') }}
    {%- if is_increment() %}
    where stretch_start in ({{ touched_stretches('facts.fct_unit_stretch_a_case', 'result') }})
    {%- endif %}
),

cases as (
    select * from {{ ref('fct_unit_day_a_case') }}
)

select
    cases.unit_code::text as unit_code,
    stretches.stretch_start::date as stretch_start,
    stretches.stretch_end::date as stretch_end,
    cases.base_code::text as base_code,
    cases.status_code::text as status_code,
    cases.lateness::text as lateness,
    cases.is_inherited_overdue::boolean as is_inherited_overdue,
    sum(cases.dossiers)::bigint as dossiers
from stretches
inner join cases on stretches.stretch_start <= cases.event_on and stretches.stretch_end > cases.event_on
where cases.lateness <> 'excluded'
group by
    cases.unit_code,
    stretches.stretch_start,
    stretches.stretch_end,
    cases.base_code,
    cases.status_code,
    cases.lateness,
    cases.is_inherited_overdue
having sum(cases.dossiers) <> 0
