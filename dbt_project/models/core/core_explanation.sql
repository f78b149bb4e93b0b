-- Grain: one row per explanation that a unit gave (Article 3.8).
{{ config(unique_key='explanation_id') }}

with explanations as (
    select * from {{ ref('stg_unit_office__explanation') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    explanations.explanation_id::text as explanation_id,
    units.unit_code::text as unit_code,
    explanations.period_code::text as period_code,
    explanations.index_code::text as index_code,
    explanations.cause_code::text as cause_code,
    explanations.document_no::text as document_no,
    explanations.submitted_at::timestamptz as submitted_at,
    {{ local_date('explanations.submitted_at') }} as submitted_on,
    explanations.decided_at::timestamptz as decided_at,
    explanations.decision_code::text as decision_code,
    explanations.batch_id::bigint as batch_id,
    explanations.first_batch_id::bigint as first_batch_id
from explanations
left join units on explanations.unit_code = units.unit_code
