-- Grain: one row per dossier of index A's population: index B, returns between receipt and result, point.
{{ config(
    unique_key='dossier_code',
    indexes=[{'columns': ['unit_code', 'result_on']}],
) }}

with dossiers as (
    select * from {{ ref('fct_a_timeliness') }}
),

supplements as (
    select * from {{ ref('core_supplement') }}
    where is_return and requested_at is not null
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

requests as (
    select
        supplements.dossier_code,
        supplements.supplement_id,
        supplements.requested_at,
        {{ is_date_only('supplements.requested_at', 'supplements.requested_at_is_date', 'policies') }}
            as requested_is_date,
        dossiers.received_at,
        dossiers.received_is_date,
        dossiers.result_at,
        dossiers.result_is_date
    from supplements
    inner join dossiers on supplements.dossier_code = dossiers.dossier_code
    inner join policies on dossiers.policy_id = policies.policy_id
),

-- A receipt that is missing sets no lower bound.
returns as (
    select
        dossier_code,
        count(distinct supplement_id) as return_count
    from requests
    where
        coalesce({{ not_after('received_at', 'received_is_date', 'requested_at', 'requested_is_date') }}, true)
        and {{ not_after('requested_at', 'requested_is_date', 'result_at', 'result_is_date') }}
    group by dossier_code
),

counted as (
    select
        dossiers.dossier_code,
        dossiers.unit_code,
        dossiers.policy_id,
        dossiers.result_on,
        -- A dossier without a due date was guided all the same.
        nullif(dossiers.exclusion_reason, 'no_due_date') as exclusion_reason,
        coalesce(returns.return_count, 0) as return_count
    from dossiers
    left join returns on dossiers.dossier_code = returns.dossier_code
)

select
    counted.dossier_code::text as dossier_code,
    counted.unit_code::text as unit_code,
    counted.policy_id::text as policy_id,
    counted.result_on::date as result_on,
    counted.exclusion_reason::text as exclusion_reason,
    counted.return_count::integer as return_count,
    case
        when counted.exclusion_reason is null then (counted.return_count <= policies.b_max_returns)::integer
    end::numeric(9, 6) as point
from counted
inner join policies on counted.policy_id = policies.policy_id
