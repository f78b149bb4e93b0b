-- Grain: one row per entry of a dossier's list of supplement requests (an id may stand there twice).
{{ config(
    unique_key=['dossier_code', 'supplement_no'],
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
) }}

with supplements as (
    select * from {{ ref('stg_tthc__supplement_version') }}
    {%- if is_increment() %}
    where record_key in ({{ touched_records('dossier') }})
    {%- endif %}
),

dossiers as (
    select * from {{ ref('core_dossier') }}
),

statuses as (
    select * from {{ ref('supplement_status') }}
)

select
    supplements.dossier_code::text as dossier_code,
    supplements.supplement_no::integer as supplement_no,
    supplements.supplement_id::text as supplement_id,
    supplements.status_code::text as status_code,
    -- A request whose status is unknown was still a request.
    coalesce(statuses.is_return, true)::boolean as is_return,
    supplements.requested_at::timestamptz as requested_at,
    supplements.requested_at_is_date::boolean as requested_at_is_date,
    supplements.received_at::timestamptz as received_at,
    supplements.received_at_is_date::boolean as received_at_is_date,
    supplements.due_before_at::timestamptz as due_before_at,
    supplements.due_after_at::timestamptz as due_after_at
from supplements
inner join dossiers
    on supplements.dossier_code = dossiers.dossier_code and supplements.batch_id = dossiers.batch_id
left join statuses on supplements.status_code = statuses.status_code
