-- Petitions that the national portal passed on: the version in force of each.
with petitions as (
    {{ version_in_force(source('raw', 'petition')) }}
)

select
    petitions.record_key,
    petitions.batch_id,
    petitions.first_batch_id,
    petitions.petition_id,
    {{ target_of('portal', 'unit', 'petitions.unit_source_code') }} as unit_code,
    {{ target_of('portal', 'petition_subject', 'petitions.subject_code') }} as subject_code,
    {{ target_of('portal', 'petition_status', 'petitions.status_code') }} as status_code,
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
where petitions.op = 'upsert'
