-- Grain: one row per policy, index (or K) and set of readings that may be taken together of the parameters that touch it.
{{ config(unique_key=['policy_id', 'index_code', 'set_code']) }}

{%- set parameters = [
    ('attribution', 'text'), ('interlinked', 'text'), ('result_statuses', 'text'), ('inherited_overdue', 'text'),
    ('due_basis', 'text'),
    ('due_missing', 'text'), ('midnight_is_date', 'boolean'), ('a_point_within_grace', 'numeric'),
    ('b_population', 'text'), ('b_threshold', 'text'),
    ('c_question', 'text'), ('c_channels', 'text'), ('c_repeat', 'text'), ('c_middle_level', 'text'),
    ('d_definition', 'text'), ('d_zero_dossier', 'text'), ('e_basis', 'text'), ('e_self_check', 'text'),
    ('missing_index', 'text'), ('k_scale', 'integer'), ('k_equal', 'text'),
] %}

with recursive

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

chosen as (
    select * from {{ ref('scoring_policy_parameter') }}
),

duties as (
    select * from {{ ref('index_duty') }}
),

readings as (
    select * from {{ ref('scoring_reading') }}
),

-- What a policy might have chosen instead. More kinds of results than its own would need dossiers that it does not count.
alternatives as (
    select
        chosen.policy_id,
        readings.parameter,
        readings.value,
        readings.kind,
        duties.index_code
    from readings
    inner join chosen on readings.parameter = chosen.parameter and readings.value <> chosen.value
    inner join duties on duties.index_code = any(string_to_array(readings.indices, ','))
    where
        readings.not_computed is null
        and (
            readings.parameter <> 'result_statuses'
            or string_to_array(readings.value, ',') <@ string_to_array(chosen.value, ',')
        )
),

voting as (
    select
        alternatives.*,
        dense_rank() over (
            partition by alternatives.policy_id, alternatives.index_code order by alternatives.parameter
        ) as place
    from alternatives
    where alternatives.kind = 'legal_gap'
),

options as (
    select
        policy_id,
        index_code,
        place,
        jsonb_build_object(parameter, value) as changes
    from voting
    union all
    select distinct
        policy_id,
        index_code,
        place,
        '{}'::jsonb as changes
    from voting
),

-- Legal readings vote together: every combination. The others are looked at one by one.
combined as (
    select
        policies.policy_id,
        duties.index_code,
        0::bigint as place,
        '{}'::jsonb as changes
    from policies
    cross join duties
    union all
    select
        combined.policy_id,
        combined.index_code,
        options.place,
        combined.changes || options.changes as changes
    from combined
    inner join options
        on
            combined.policy_id = options.policy_id
            and combined.index_code = options.index_code
            and options.place = combined.place + 1
),

places as (
    select
        policy_id,
        index_code,
        max(place) as last_place
    from combined
    group by policy_id, index_code
),

sets as (
    select
        combined.policy_id,
        combined.index_code,
        case when combined.changes = '{}'::jsonb then 'own' else 'legal_gap' end as kind,
        combined.changes
    from combined
    inner join places
        on
            combined.policy_id = places.policy_id
            and combined.index_code = places.index_code
            and combined.place = places.last_place
    union all
    select
        policy_id,
        index_code,
        kind,
        jsonb_build_object(parameter, value) as changes
    from alternatives
    where kind <> 'legal_gap'
),

-- A parameter that touches several indices is told with each of them and counted with the first.
changes as (
    select
        sets.policy_id,
        sets.index_code,
        sets.changes,
        change.key || '=' || change.value as reading,
        change.key in ('attribution', 'interlinked', 'due_basis', 'due_missing', 'midnight_is_date') as is_base,
        split_part(readings.indices, ',', 1) = sets.index_code as is_counted
    from sets
    cross join lateral jsonb_each_text(sets.changes) as change (key, value)
    inner join readings on change.key = readings.parameter and change.value = readings.value
),

told as (
    select
        policy_id,
        index_code,
        changes,
        string_agg(reading, ' + ' order by reading) as set_code,
        string_agg(reading, ' + ' order by reading) filter (where is_base) as base_code,
        count(*) filter (where is_counted) as size
    from changes
    group by policy_id, index_code, changes
)

select
    sets.policy_id::text as policy_id,
    sets.index_code::text as index_code,
    coalesce(told.set_code, 'own')::text as set_code,
    coalesce(told.base_code, 'own')::text as base_code,
    sets.kind::text as kind,
    {% for name, type in parameters %}
    coalesce(sets.changes ->> '{{ name }}', policies.{{ name }}::text)::{{ type }} as {{ name }},
    {% endfor %}
    coalesce(told.size, 0)::integer as size
from sets
inner join policies on sets.policy_id = policies.policy_id
left join told
    on sets.policy_id = told.policy_id and sets.index_code = told.index_code and sets.changes = told.changes
