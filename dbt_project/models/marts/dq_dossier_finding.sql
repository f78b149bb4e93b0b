-- Grain: one row per finding and dossier: distortions that integrations are known to make.
{{ config(
    alias='dossier_finding',
    unique_key=['finding', 'dossier_code'],
    scope="held.dossier_code in (" ~ touched_records(['dossier', 'dossier_sync']) ~ ")",
    looks_up=true,
) }}

with city as (
    select * from {{ ref('core_dossier') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records(['dossier', 'dossier_sync']) }})
    {%- endif %}
),

portal as (
    select * from {{ ref('core_dossier_sync') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records(['dossier', 'dossier_sync']) }})
    {%- endif %}
),

supplements as (
    select * from {{ ref('core_supplement') }}
    {%- if is_increment() %}
    where dossier_code in ({{ touched_records(['dossier', 'dossier_sync']) }})
    {%- endif %}
),

supplement_statuses as (
    select * from {{ ref('supplement_status') }}
),

procedures as (
    select * from {{ ref('dim_procedure') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

-- Days for which each dossier waited for supplements that came in full; an id that stands twice waited once.
waits as (
    select distinct
        supplements.dossier_code,
        supplements.supplement_id,
        {{ local_date('supplements.received_at') }} - {{ local_date('supplements.requested_at') }} as days
    from supplements
    inner join supplement_statuses on supplements.status_code = supplement_statuses.status_code
    where
        supplement_statuses.restarts_term
        and supplements.received_at is not null
        and supplements.requested_at is not null
),

pauses as (
    select
        dossier_code,
        sum(days)::integer as days
    from waits
    group by dossier_code
),

-- The portal's word against its own two dates, compared at the coarser precision of the two.
judged as (
    select
        portal.dossier_code,
        portal.resolving_unit_code,
        portal.result_on,
        portal.timeliness_code,
        {{ not_after(
            'portal.result_at', is_date_only('portal.result_at', 'portal.result_at_is_date', 'policies'),
            'portal.due_at', is_date_only('portal.due_at', 'portal.due_at_is_date', 'policies')
        ) }} as is_in_time
    from portal
    inner join policies
        on
            portal.result_on >= policies.valid_from
            and (policies.valid_to is null or portal.result_on < policies.valid_to)
    where portal.timeliness_code in ('on_time', 'late') and portal.due_at is not null
),

found as (
    select
        'dummy_identity' as finding,
        dossier_code,
        resolving_unit_code as unit_code,
        received_on as event_on
    from city
    where is_dummy_identity
    union all
    select
        'done_inserted' as finding,
        dossier_code,
        resolving_unit_code as unit_code,
        received_on as event_on
    from city
    where has_inserted_step
    union all
    -- At once needs no due date; anything else without one was never in time, nor late.
    select
        'due_missing_on_time' as finding,
        portal.dossier_code,
        portal.resolving_unit_code as unit_code,
        portal.result_on as event_on
    from portal
    left join procedures on portal.procedure_code = procedures.procedure_code
    where portal.timeliness_code = 'on_time' and portal.due_at is null and not coalesce(procedures.is_at_once, false)
    union all
    select
        'precision_mixed' as finding,
        dossier_code,
        resolving_unit_code as unit_code,
        result_on as event_on
    from judged
    where is_in_time <> (timeliness_code = 'on_time')
    union all
    -- The law restarts the term when a supplement came in full; the portal adds the days of waiting instead.
    select
        'due_moved_by_pause' as finding,
        city.dossier_code,
        city.resolving_unit_code as unit_code,
        city.received_on as event_on
    from city
    inner join pauses on city.dossier_code = pauses.dossier_code
    inner join portal on city.dossier_code = portal.dossier_code
    where
        {{ local_date('portal.due_at') }} <> {{ local_date('city.restart_due_at') }}
        and {{ local_date('portal.due_at') }} = {{ local_date('city.first_due_at') }} + pauses.days
)

select
    finding::text as finding,
    dossier_code::text as dossier_code,
    unit_code::text as unit_code,
    event_on::date as event_on
from found
