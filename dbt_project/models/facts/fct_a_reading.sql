-- Grain: one row per dossier and reading of its due moment or unit under which index A sees it differently.
{{ config(
    unique_key=['dossier_code', 'base_code'],
    scope="held.dossier_code in (" ~ touched_records('dossier') ~ ")",
    looks_up=true,
    indexes=[{'columns': ['result_on', 'unit_code']}],
    post_hook="{{ note_cells([['result', 'unit_code', 'result_on'], ['result', 'own_unit_code', 'result_on']]) }}",
) }}

with own as (
    select * from {{ ref('fct_a_timeliness') }}
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
    where index_code = 'A' and set_code = base_code and kind <> 'own'
),

readings as (
    select
        sets.*,
        policies.valid_from,
        policies.valid_to,
        policies.at_once_cutoff,
        policies.a_grace_working_days,
        sets.attribution <> policies.attribution as is_other_unit,
        sets.due_basis <> policies.due_basis as is_other_due_date,
        sets.due_missing <> policies.due_missing as is_other_limit,
        sets.midnight_is_date <> policies.midnight_is_date as is_other_precision
    from sets
    inner join policies on sets.policy_id = policies.policy_id and sets.interlinked = policies.interlinked
),

core_dossiers as (
    select * from {{ ref('core_dossier') }}
    where
        result_at is not null
        {%- if is_increment() %}
        and dossier_code in ({{ touched_records('dossier') }})
        {%- endif %}
),

-- Most dossiers look the same under every reading: they were given one due date, with a clock time, by the unit that resolves.
dossiers as (
    select
        core_dossiers.*,
        core_dossiers.result_on as judged_on,
        coalesce(core_dossiers.receiving_unit_code, '') <> coalesce(core_dossiers.resolving_unit_code, '')
            as has_two_units,
        core_dossiers.restart_due_at is not null
        or num_nulls(core_dossiers.first_due_at, core_dossiers.source_due_at) = 1
        or core_dossiers.first_due_at <> core_dossiers.source_due_at
        or core_dossiers.first_due_at_is_date <> core_dossiers.source_due_at_is_date as has_two_due_dates,
        num_nulls(core_dossiers.first_due_at, core_dossiers.source_due_at) > 0 as may_lack_due_date,
        {{ is_midnight('core_dossiers.received_at') }}
        or {{ is_midnight('core_dossiers.result_at') }}
        or {{ is_midnight('core_dossiers.first_due_at') }}
        or {{ is_midnight('core_dossiers.restart_due_at') }}
        or {{ is_midnight('core_dossiers.source_due_at') }} as has_midnight
    from core_dossiers
    offset 0 -- asked of every reading, answered once
),

{{ timeliness(
    'readings',
    also=['base_code'],
    only='(readings.is_other_unit and dossiers.has_two_units)
                or (readings.is_other_due_date and dossiers.has_two_due_dates)
                or (readings.is_other_limit and dossiers.may_lack_due_date)
                or (readings.is_other_precision and dossiers.has_midnight)'
) }},

examined as (
    select
        judged.*,
        {{ a_exclusion('judged', 'judged') }} as exclusion_reason
    from judged
    where judged.is_result
),

compared as (
    select
        examined.*,
        {{ a_lateness('examined', 'examined') }} as lateness
    from examined
)

select
    compared.dossier_code::text as dossier_code,
    compared.base_code::text as base_code,
    compared.policy_id::text as policy_id,
    compared.unit_code::text as unit_code,
    own.unit_code::text as own_unit_code,
    compared.result_on::date as result_on,
    compared.status_code::text as status_code,
    compared.is_inherited_overdue::boolean as is_inherited_overdue,
    compared.exclusion_reason::text as exclusion_reason,
    compared.lateness::text as lateness
from compared
inner join own on compared.dossier_code = own.dossier_code
where
    (compared.unit_code, compared.is_inherited_overdue, compared.exclusion_reason, compared.lateness)
    is distinct from (own.unit_code, own.is_inherited_overdue, own.exclusion_reason, own.lateness)
{{ written_by('result_on') }}
