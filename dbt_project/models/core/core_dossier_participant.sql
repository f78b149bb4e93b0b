-- Grain: one row per interlinked dossier and entry of its list of participating units.
{{ config(
    unique_key=['dossier_code', 'participant_no'],
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
) }}

with participants as (
    select * from {{ ref('stg_tthc__dossier_participant') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_records('dossier') }})
    {%- endif %}
),

dossiers as (
    select * from {{ ref('core_dossier') }}
),

units as (
    select * from {{ ref('dim_unit') }}
)

select
    participants.dossier_code::text as dossier_code,
    participants.participant_no::integer as participant_no,
    participants.participant_id::text as participant_id,
    units.unit_code::text as unit_code,
    participants.role_code::text as role_code,
    participants.received_at::timestamptz as received_at,
    participants.received_at_is_date::boolean as received_at_is_date,
    participants.due_at::timestamptz as due_at,
    participants.due_at_is_date::boolean as due_at_is_date,
    participants.finished_at::timestamptz as finished_at,
    participants.finished_at_is_date::boolean as finished_at_is_date
from participants
inner join dossiers
    on participants.dossier_code = dossiers.dossier_code and participants.batch_id = dossiers.batch_id
left join units on participants.unit_code = units.unit_code
