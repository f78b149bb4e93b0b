-- Grain: one row per remedy that a unit promised, as of the last day that was read of them (Article 12.2).
{{ config(alias='action', unique_key='action_id') }}

with actions as (
    select * from {{ ref('core_action') }}
),

explanations as (
    select * from {{ ref('core_explanation') }}
),

batches as (
    select * from {{ ref('dim_batch') }}
),

reached as (
    select {{ local_date('max(window_end)') }} - 1 as last_day
    from batches
    where feed = 'unit_action'
),

-- An explanation of another unit is none of this one's.
linked as (
    select
        actions.*,
        explanations.explanation_id,
        explanations.period_code,
        explanations.index_code,
        case
            when actions.named_explanation_id is null then 'none'
            when named.explanation_id is null then 'unknown'
            when explanations.explanation_id is null then 'other_unit'
            else 'linked'
        end as link_status
    from actions
    left join explanations as named on actions.named_explanation_id = named.explanation_id
    left join explanations
        on actions.named_explanation_id = explanations.explanation_id and actions.unit_code = explanations.unit_code
),

-- What is to be done on a day that was not read yet is not done.
dated as (
    select
        linked.*,
        reached.last_day,
        linked.done_on is not null and coalesce(linked.done_on <= reached.last_day, true) as is_done
    from linked
    cross join reached
)

select
    action_id::text as action_id,
    unit_code::text as unit_code,
    remedy_code::text as remedy_code,
    due_on::date as due_on,
    done_on::date as done_on,
    evidence_no::text as evidence_no,
    named_explanation_id::text as named_explanation_id,
    explanation_id::text as explanation_id,
    link_status::text as link_status,
    period_code::text as period_code,
    index_code::text as index_code,
    case
        when is_done then 'done'
        when due_on is null then 'no_due_date'
        when due_on < last_day then 'overdue'
        else 'open'
    end::text as state,
    case when is_done then done_on > due_on end::boolean as is_late,
    (is_done and evidence_no is null)::boolean as is_without_evidence,
    last_day::date as as_of_on
from dated
