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

procedures as (
    select * from {{ ref('dim_procedure') }}
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
        dossiers.procedure_code,
        dossiers.result_on,
        -- A dossier without a due date, or overdue before the unit had it, was guided all the same.
        case
            when dossiers.exclusion_reason not in ('no_due_date', 'inherited_overdue') then dossiers.exclusion_reason
        end as exclusion_reason,
        coalesce(returns.return_count, 0) as return_count
    from dossiers
    left join returns on dossiers.dossier_code = returns.dossier_code
),

judged as (
    select
        counted.*,
        coalesce(
            counted.exclusion_reason,
            case when policies.b_population = 'returned' and counted.return_count = 0 then 'not_returned' end
        ) as reason,
        case policies.b_threshold
            when 'absolute' then counted.return_count
            when 'beyond_permitted'
                then counted.return_count - coalesce(procedures.permitted_supplements, policies.b_permitted_default)
        end <= policies.b_max_returns as is_guided
    from counted
    inner join policies on counted.policy_id = policies.policy_id
    left join procedures on counted.procedure_code = procedures.procedure_code
)

select
    dossier_code::text as dossier_code,
    unit_code::text as unit_code,
    policy_id::text as policy_id,
    result_on::date as result_on,
    reason::text as exclusion_reason,
    return_count::integer as return_count,
    case when reason is null then is_guided::integer end::numeric(9, 6) as point
from judged
