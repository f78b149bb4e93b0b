-- Grain: one row per petition in force, with the unit that must answer it.
{{ config(
    unique_key='petition_id',
    indexes=[{'columns': ['received_on', 'unit_code']}],
    post_hook="{{ note_cells([['petition', 'unit_code', 'received_on']]) }}",
) }}

with petitions as (
    select * from {{ ref('stg_portal__petition') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

quarantined as (
    select * from {{ ref('stg_ops__quarantine') }}
    where feed = 'petition'
)

select
    petitions.petition_id::text as petition_id,
    petitions.batch_id::bigint as batch_id,
    petitions.first_batch_id::bigint as first_batch_id,
    units.unit_code::text as unit_code,
    petitions.subject_code::text as subject_code,
    petitions.status_code::text as status_code,
    petitions.received_at::timestamptz as received_at,
    {{ local_date('petitions.received_at') }} as received_on,
    petitions.due_at::timestamptz as due_at,
    petitions.due_at_is_date::boolean as due_at_is_date,
    petitions.supplement_asked_at::timestamptz as supplement_asked_at,
    petitions.refused_at::timestamptz as refused_at,
    petitions.answered_at::timestamptz as answered_at,
    petitions.answered_at_is_date::boolean as answered_at_is_date,
    petitions.published_at::timestamptz as published_at,
    petitions.is_satisfied::boolean as is_satisfied,
    coalesce(petitions.resent_count, 0)::integer as resent_count,
    coalesce(quarantined.batch_id > petitions.batch_id, false)::boolean as is_stale,
    petitions.updated_at::timestamptz as updated_at
from petitions
left join units on petitions.unit_code = units.unit_code
left join quarantined on petitions.record_key = quarantined.record_key
