-- Grain: one row per unit, day and kind of case of index B: how many dossiers; under another reading, how many more or fewer.
{{ config(
    unique_key=[
        'event_on', 'unit_code', 'base_code', 'status_code', 'is_excluded', 'return_count', 'permitted_returns',
    ],
    scope=in_touched_cells('held.unit_code', 'held.event_on', 'result'),
    looks_up=true,
) }}

with own as (
    select * from {{ ref('fct_b_guidance') }}
    {%- if is_increment() %}
    where {{ in_touched_cells('unit_code', 'result_on', 'result') }}
    {%- endif %}
),

readings as (
    select * from {{ ref('fct_b_reading') }}
    {%- if is_increment() %}
    where {{ in_touched_cells('unit_code', 'result_on', 'result') }}
    {%- endif %}
),

-- What a reading takes away stands in the cell of the dossier itself, which has the same day.
read_again as (
    select * from {{ ref('fct_b_reading') }}
    {%- if is_increment() %}
    where result_on = any(array({{ touched_days('result') }}))
    {%- endif %}
),

cases as (
    select
        unit_code,
        result_on,
        'own' as base_code,
        status_code,
        is_excluded,
        return_count,
        permitted_returns,
        1 as dossiers
    from own
    union all
    select
        unit_code,
        result_on,
        base_code,
        status_code,
        is_excluded,
        return_count,
        permitted_returns,
        1 as dossiers
    from readings
    union all
    select
        own.unit_code,
        own.result_on,
        read_again.base_code,
        own.status_code,
        own.is_excluded,
        own.return_count,
        own.permitted_returns,
        -1 as dossiers
    from own
    inner join read_again on own.dossier_code = read_again.dossier_code
)

select
    unit_code::text as unit_code,
    result_on::date as event_on,
    base_code::text as base_code,
    status_code::text as status_code,
    is_excluded::boolean as is_excluded,
    return_count::integer as return_count,
    permitted_returns::integer as permitted_returns,
    sum(dossiers)::bigint as dossiers
from cases
where unit_code is not null
group by unit_code, result_on, base_code, status_code, is_excluded, return_count, permitted_returns
having sum(dossiers) <> 0
{{ written_by('result_on') }}
