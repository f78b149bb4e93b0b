-- Grain: one row per unit, day and kind of case of index A: how many dossiers; under another reading, how many more or fewer.
{{ config(
    unique_key=['event_on', 'unit_code', 'base_code', 'status_code', 'lateness', 'is_inherited_overdue'],
    scope=in_touched_cells('held.unit_code', 'held.event_on', 'result'),
    looks_up=true,
) }}

with own as (
    select * from {{ ref('fct_a_timeliness') }}
    {%- if is_increment() %}
    where {{ in_touched_cells('unit_code', 'result_on', 'result') }}
    {%- endif %}
),

readings as (
    select * from {{ ref('fct_a_reading') }}
    {%- if is_increment() %}
    where {{ in_touched_cells('unit_code', 'result_on', 'result') }}
    {%- endif %}
),

-- What a reading takes away stands in the cell of the dossier itself, which has the same day.
read_again as (
    select * from {{ ref('fct_a_reading') }}
    {%- if is_increment() %}
    where result_on = any(array({{ touched_days('result') }}))
    {%- endif %}
),

steps as (
    select * from {{ ref('fct_a_participant') }}
    {%- if is_increment() %}
    where {{ in_touched_cells('unit_code', 'result_on', 'result') }}
    {%- endif %}
),

-- A unit with a step of its own is judged by that instead of by the dossier.
steps_for_dossiers as (
    select * from {{ ref('fct_a_participant') }}
    where is_for_dossier
),

cases as (
    select
        unit_code,
        result_on,
        'own' as base_code,
        status_code,
        lateness,
        is_inherited_overdue,
        1 as dossiers
    from own
    union all
    select
        unit_code,
        result_on,
        base_code,
        status_code,
        lateness,
        is_inherited_overdue,
        1 as dossiers
    from readings
    union all
    select
        own.unit_code,
        own.result_on,
        read_again.base_code,
        own.status_code,
        own.lateness,
        own.is_inherited_overdue,
        -1 as dossiers
    from own
    inner join read_again on own.dossier_code = read_again.dossier_code
    union all
    select
        unit_code,
        result_on,
        base_code,
        status_code,
        lateness,
        is_inherited_overdue,
        1 as dossiers
    from steps
    union all
    select
        own.unit_code,
        own.result_on,
        steps_for_dossiers.base_code,
        own.status_code,
        own.lateness,
        own.is_inherited_overdue,
        -1 as dossiers
    from own
    inner join steps_for_dossiers on own.dossier_code = steps_for_dossiers.dossier_code
)

select
    unit_code::text as unit_code,
    result_on::date as event_on,
    base_code::text as base_code,
    status_code::text as status_code,
    coalesce(lateness, 'excluded')::text as lateness,
    is_inherited_overdue::boolean as is_inherited_overdue,
    sum(dossiers)::bigint as dossiers
from cases
where unit_code is not null
group by unit_code, result_on, base_code, status_code, lateness, is_inherited_overdue
having sum(dossiers) <> 0
{{ written_by('result_on') }}
