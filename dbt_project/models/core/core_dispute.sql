-- Grain: one row per objection of a unit to a record.
{{ config(unique_key='dispute_id') }}

with disputes as (
    select * from {{ ref('stg_unit_office__dispute') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    disputes.dispute_id::text as dispute_id,
    units.unit_code::text as unit_code,
    disputes.disputed_feed::text as disputed_feed,
    disputes.disputed_key::text as disputed_key,
    disputes.reason_code::text as reason_code,
    disputes.raised_at::timestamptz as raised_at,
    disputes.decided_at::timestamptz as decided_at,
    disputes.decision_code::text as decision_code,
    disputes.batch_id::bigint as batch_id,
    disputes.first_batch_id::bigint as first_batch_id
from disputes
left join units on disputes.unit_code = units.unit_code
