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

{{ returns('dossiers', 'policies', ['dossier_code']) }},

counted as (
    select
        dossiers.dossier_code,
        dossiers.unit_code,
        dossiers.policy_id,
        dossiers.procedure_code,
        dossiers.status_code,
        dossiers.result_on,
        -- A dossier without a due date, or overdue before the unit had it, was guided all the same.
        case
            when dossiers.exclusion_reason not in ('no_due_date', 'inherited_overdue') then dossiers.exclusion_reason
        end as exclusion_reason,
        coalesce(returns.return_count, 0) as return_count
    from dossiers
    left join returns on dossiers.dossier_code = returns.dossier_code
),

permitted as (
    select
        counted.*,
        coalesce(procedures.permitted_supplements, policies.b_permitted_default) as permitted_returns
    from counted
    inner join policies on counted.policy_id = policies.policy_id
    left join procedures on counted.procedure_code = procedures.procedure_code
),

judged as (
    select
        permitted.*,
        coalesce(
            permitted.exclusion_reason,
            case when {{ b_is_left_out('permitted', 'policies') }} then 'not_returned' end
        ) as reason,
        {{ b_point('permitted', 'policies') }} as point
    from permitted
    inner join policies on permitted.policy_id = policies.policy_id
)

select
    dossier_code::text as dossier_code,
    unit_code::text as unit_code,
    policy_id::text as policy_id,
    status_code::text as status_code,
    result_on::date as result_on,
    (exclusion_reason is not null)::boolean as is_excluded,
    reason::text as exclusion_reason,
    return_count::integer as return_count,
    permitted_returns::integer as permitted_returns,
    case when reason is null then point end::numeric(9, 6) as point
from judged
