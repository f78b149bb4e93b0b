-- Grain: one row per dossier and reading of its moments or unit under which index B sees it differently.
{{ config(
    unique_key=['dossier_code', 'base_code'],
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
    indexes=[{'columns': ['result_on', 'unit_code']}],
    post_hook="{{ note_cells([['result', 'unit_code', 'result_on'], ['result', 'own_unit_code', 'result_on']]) }}",
) }}

with own as (
    select * from {{ ref('fct_b_guidance') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records('dossier') }})
    {%- endif %}
),

core_dossiers as (
    select * from {{ ref('core_dossier') }}
),

supplements as (
    select * from {{ ref('core_supplement') }}
    where
        is_return and requested_at is not null
        {%- if is_increment() %}
        and dossier_code in ({{ touched_records('dossier') }})
        {%- endif %}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

sets as (
    select * from {{ ref('dim_reading_set') }}
    where index_code = 'B' and set_code = base_code and kind <> 'own'
),

asked_at_midnight as (
    select distinct dossier_code
    from supplements
    where {{ is_midnight('requested_at') }}
),

dossiers as (
    select
        own.dossier_code,
        own.policy_id,
        own.status_code,
        own.result_on,
        core_dossiers.received_at,
        core_dossiers.result_at,
        sets.base_code,
        sets.midnight_is_date,
        core_dossiers.is_test_record,
        {{ attributed_to('core_dossiers', 'sets') }} as unit_code,
        {{ is_date_only('core_dossiers.received_at', 'core_dossiers.received_at_is_date', 'sets') }}
            as received_is_date,
        {{ is_date_only('core_dossiers.result_at', 'core_dossiers.result_at_is_date', 'sets') }} as result_is_date
    from own
    inner join sets on own.policy_id = sets.policy_id
    inner join policies on own.policy_id = policies.policy_id
    inner join core_dossiers on own.dossier_code = core_dossiers.dossier_code
    left join asked_at_midnight on own.dossier_code = asked_at_midnight.dossier_code
    where
        (
            sets.attribution <> policies.attribution
            and core_dossiers.receiving_unit_code is distinct from core_dossiers.resolving_unit_code
        )
        or (
            sets.midnight_is_date <> policies.midnight_is_date
            and (
                {{ is_midnight('core_dossiers.received_at') }}
                or {{ is_midnight('core_dossiers.result_at') }}
                or asked_at_midnight.dossier_code is not null
            )
        )
),

{{ returns('dossiers', 'dossiers', ['dossier_code', 'base_code']) }},

read_again as (
    select
        dossiers.dossier_code,
        dossiers.base_code,
        dossiers.policy_id,
        dossiers.unit_code,
        dossiers.result_on,
        dossiers.status_code,
        dossiers.is_test_record
        or not {{ not_after(
            'dossiers.received_at', 'dossiers.received_is_date', 'dossiers.result_at', 'dossiers.result_is_date'
        ) }} as is_excluded,
        coalesce(returns.return_count, 0) as return_count
    from dossiers
    left join returns on dossiers.dossier_code = returns.dossier_code and dossiers.base_code = returns.base_code
)

select
    read_again.dossier_code::text as dossier_code,
    read_again.base_code::text as base_code,
    read_again.policy_id::text as policy_id,
    read_again.unit_code::text as unit_code,
    own.unit_code::text as own_unit_code,
    read_again.result_on::date as result_on,
    read_again.status_code::text as status_code,
    coalesce(read_again.is_excluded, false)::boolean as is_excluded,
    read_again.return_count::integer as return_count,
    own.permitted_returns::integer as permitted_returns
from read_again
inner join own on read_again.dossier_code = own.dossier_code
where
    (read_again.unit_code, coalesce(read_again.is_excluded, false), read_again.return_count)
    is distinct from (own.unit_code, own.is_excluded, own.return_count)
{{ written_by('result_on') }}
