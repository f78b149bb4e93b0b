-- Grain: one row per unit, stretch of days and kind of rating; those of a dossier that was rated more than once that day are not in.
{{ config(
    unique_key=['stretch_start', 'unit_code', 'question_code', 'is_city_system', 'status_code', 'level_class'],
    scope=in_touched_stretches('facts.fct_unit_stretch_c_case', 'rating'),
    looks_up=true,
) }}

with stretches as (
    select * from {{ ref('core_window_stretch') }}
    {%- if is_increment() %}
    where stretch_start in ({{ touched_stretches('facts.fct_unit_stretch_c_case', 'rating') }})
    {%- endif %}
),

cases as (
    select * from {{ ref('fct_unit_day_c_case') }}
)

select
    cases.unit_code::text as unit_code,
    stretches.stretch_start::date as stretch_start,
    stretches.stretch_end::date as stretch_end,
    cases.question_code::text as question_code,
    cases.is_city_system::boolean as is_city_system,
    cases.status_code::text as status_code,
    cases.level_class::text as level_class,
    sum(cases.ratings)::bigint as ratings
from stretches
inner join cases on stretches.stretch_start <= cases.event_on and stretches.stretch_end > cases.event_on
where cases.dossier_code = '' and cases.unit_code <> ''
group by
    cases.unit_code,
    stretches.stretch_start,
    stretches.stretch_end,
    cases.question_code,
    cases.is_city_system,
    cases.status_code,
    cases.level_class
