-- Grain: one row per petition that a known unit received on a known day: whether it was refused, and when its answer was due.
{{ config(
    unique_key='petition_id',
    indexes=[{'columns': ['unit_code', 'received_on']}],
) }}

with petitions as (
    select * from {{ ref('core_petition') }}
    where unit_code is not null and received_on is not null
),

terms as (
    select * from {{ ref('fct_d_petition_term') }}
    where term_code = 'answer'
),

days as (
    select * from {{ ref('dim_calendar_day') }}
),

-- The portal's own due date; where it gives none, the last day of the term for an answer.
dated as (
    select
        petitions.*,
        case
            when petitions.due_at is not null then 'source'
            when terms.last_on is not null then 'term'
        end as due_basis,
        coalesce({{ local_date('petitions.due_at') }}, terms.last_on) as term_on
    from petitions
    left join terms on petitions.petition_id = terms.petition_id
)

select
    dated.petition_id::text as petition_id,
    dated.unit_code::text as unit_code,
    dated.received_at::timestamptz as received_at,
    dated.received_on::date as received_on,
    -- The state in force decides; where the portal tells none, a refusal that no answer followed.
    case
        when dated.status_code is not null then dated.status_code = 'refused'
        else dated.refused_at is not null and dated.answered_at is null
    end::boolean as is_refused,
    dated.refused_at::timestamptz as refused_at,
    dated.due_at::timestamptz as due_at,
    dated.due_basis::text as due_basis,
    -- A term that ends on a day off ends with the next working day; a day outside the calendar stays as it is.
    coalesce(days.term_ends_on, dated.term_on)::date as due_on,
    (
        dated.due_at is null or dated.due_at_is_date or coalesce(days.term_ends_on <> dated.term_on, false)
    )::boolean as due_is_date,
    dated.answered_at::timestamptz as answered_at,
    dated.answered_at_is_date::boolean as answered_at_is_date,
    {{ local_date('dated.answered_at') }} as answered_on,
    dated.is_satisfied::boolean as is_satisfied,
    dated.resent_count::integer as resent_count
from dated
left join days on dated.term_on = days.day
