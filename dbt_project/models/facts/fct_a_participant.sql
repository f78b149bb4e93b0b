-- Grain: one row per dossier of index A's population and participation in it: the unit's own step by the step's own limit.
{{ config(
    unique_key=['dossier_code', 'participant_no'],
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
    indexes=[{'columns': ['result_on', 'unit_code']}],
    post_hook="{{ note_cells([['result', 'unit_code', 'result_on']]) }}",
) }}

with own as (
    select * from {{ ref('fct_a_population') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records('dossier') }})
    {%- endif %}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

procedures as (
    select * from {{ ref('dim_procedure') }}
),

days as (
    select * from {{ ref('dim_calendar_day') }}
),

units as (
    select * from {{ ref('dim_unit') }}
),

sets as (
    select * from {{ ref('dim_reading_set') }}
    where index_code = 'A' and set_code = base_code and interlinked = 'participants'
),

readings as (
    select
        sets.*,
        policies.valid_from,
        policies.valid_to,
        policies.at_once_cutoff,
        policies.a_grace_working_days
    from sets
    inner join policies on sets.policy_id = policies.policy_id
),

-- A participation told twice is one step: the entry that finished last.
participants as (
    select distinct on (dossier_code, participant_id) *
    from {{ ref('core_dossier_participant') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records('dossier') }})
    {%- endif %}
    order by dossier_code, participant_id, finished_at desc nulls last, due_at, received_at, participant_no
),

-- A step in the place of a dossier. What the procedure allows is for the whole of it: a step without a limit has none.
dossiers as (
    select
        participants.dossier_code,
        participants.participant_no,
        own.unit_code as own_unit_code,
        own.is_test_record,
        own.status_code,
        null::text as procedure_code,
        participants.unit_code as resolving_unit_code,
        participants.unit_code as receiving_unit_code,
        participants.received_at,
        participants.received_at_is_date,
        participants.due_at as first_due_at,
        participants.due_at_is_date as first_due_at_is_date,
        participants.due_at as source_due_at,
        participants.due_at_is_date as source_due_at_is_date,
        null::timestamptz as restart_due_at,
        null::boolean as restart_due_at_is_date,
        participants.finished_at as result_at,
        participants.finished_at_is_date as result_at_is_date,
        {{ local_date('participants.finished_at') }} as result_on,
        -- Steps count where their dossier does: when it has its result, under the policy of that day.
        own.result_on as judged_on
    from participants
    inner join own on participants.dossier_code = own.dossier_code
),

{{ timeliness('readings', also=['base_code']) }},

examined as (
    select
        judged.*,
        case
            when judged.result_at is null and not judged.is_test_record then 'step_not_finished'
            else {{ a_exclusion('judged', 'judged') }}
        end as exclusion_reason
    from judged
),

compared as (
    select
        examined.*,
        {{ a_lateness('examined', 'examined') }} as lateness
    from examined
)

select
    dossier_code::text as dossier_code,
    participant_no::integer as participant_no,
    base_code::text as base_code,
    policy_id::text as policy_id,
    unit_code::text as unit_code,
    judged_on::date as result_on,
    status_code::text as status_code,
    is_inherited_overdue::boolean as is_inherited_overdue,
    exclusion_reason::text as exclusion_reason,
    lateness::text as lateness,
    -- Said of one of its steps only: a dossier is taken away once.
    coalesce(
        unit_code = own_unit_code
        and row_number() over (partition by dossier_code, unit_code order by participant_no) = 1,
        false
    )::boolean as is_for_dossier
from compared
