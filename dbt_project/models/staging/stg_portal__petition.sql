-- Petitions that the national portal passed on: the version in force of each.
with petitions as (
    {{ version_in_force(source('raw', 'petition')) }}
),

code as (
    select * from {{ ref('stg_register__code') }}
    where system = 'portal'
)

select
    petitions.record_key,
    petitions.batch_id,
    petitions.first_batch_id,
    petitions.petition_id,
    unit.target_code as unit_code,
    subject.target_code as subject_code,
    status.target_code as status_code,
    petitions.received_at,
    petitions.due_at,
    coalesce(petitions.due_at_is_date, false) as due_at_is_date,
    petitions.supplement_asked_at,
    petitions.refused_at,
    petitions.answered_at,
    coalesce(petitions.answered_at_is_date, false) as answered_at_is_date,
    petitions.published_at,
    petitions.is_satisfied,
    petitions.resent_count,
    petitions.updated_at
from petitions
left join code as unit
    on unit.code_kind = 'unit' and petitions.unit_source_code = unit.source_code
left join code as subject
    on subject.code_kind = 'petition_subject' and petitions.subject_code = subject.source_code
left join code as status
    on status.code_kind = 'petition_status' and petitions.status_code = status.source_code
where petitions.op = 'upsert'
