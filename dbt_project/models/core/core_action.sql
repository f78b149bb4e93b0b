-- Grain: one row per remedy that a unit promised (Article 12.2).
{{ config(unique_key='action_id') }}

with actions as (
    select * from {{ ref('stg_unit_office__action') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    actions.action_id::text as action_id,
    units.unit_code::text as unit_code,
    actions.explanation_id::text as named_explanation_id,
    actions.remedy_code::text as remedy_code,
    actions.due_on::date as due_on,
    actions.done_on::date as done_on,
    actions.evidence_no::text as evidence_no,
    actions.batch_id::bigint as batch_id,
    actions.first_batch_id::bigint as first_batch_id
from actions
left join units on actions.unit_code = units.unit_code
