-- Grain: one row per objection of a unit to a record, with the record it is about. It changes no number: the source corrects the record.
{{ config(alias='dispute', unique_key='dispute_id') }}

{%- set feeds = ['dossier', 'rating', 'petition', 'posting_check'] %}

with disputes as (
    select * from {{ ref('core_dispute') }}
),

dossiers as (
    select * from {{ ref('core_dossier') }}
),

results as (
    select * from {{ ref('fct_a_timeliness') }}
),

open_dossiers as (
    select * from {{ ref('fct_open_dossier') }}
),

ratings as (
    select * from {{ ref('core_rating') }}
),

petitions as (
    select * from {{ ref('core_petition') }}
),

checks as (
    select * from {{ ref('core_posting_check') }}
),

periods as (
    select * from {{ ref('dim_period') }}
    where period_kind = 'month'
),

batches as (
    select * from {{ ref('dim_batch') }}
),

-- A dossier counts on the day of its result; an open one has no window yet.
records as (
    select
        disputes.dispute_id,
        coalesce(results.unit_code, open_dossiers.unit_code, dossiers.resolving_unit_code) as unit_code,
        results.result_on as event_on,
        dossiers.batch_id
    from disputes
    inner join dossiers on disputes.disputed_feed = 'dossier' and disputes.disputed_key = dossiers.dossier_code
    left join results on dossiers.dossier_code = results.dossier_code
    left join open_dossiers on dossiers.dossier_code = open_dossiers.dossier_code
    union all
    select
        disputes.dispute_id,
        ratings.unit_code,
        ratings.rated_on as event_on,
        ratings.batch_id
    from disputes
    inner join ratings on disputes.disputed_feed = 'rating' and disputes.disputed_key = ratings.rating_id
    union all
    select
        disputes.dispute_id,
        petitions.unit_code,
        petitions.received_on as event_on,
        petitions.batch_id
    from disputes
    inner join petitions on disputes.disputed_feed = 'petition' and disputes.disputed_key = petitions.petition_id
    union all
    select
        disputes.dispute_id,
        checks.unit_code,
        checks.checked_on as event_on,
        null::bigint as batch_id
    from disputes
    inner join checks on disputes.disputed_feed = 'posting_check' and disputes.disputed_key = checks.check_id
),

-- Where two calendars meet a day may be in two months: the later counts.
months as (
    select distinct on (records.dispute_id)
        records.dispute_id,
        periods.period_code,
        periods.cutoff_at
    from records
    inner join periods on records.event_on >= periods.period_start and records.event_on < periods.period_end
    order by records.dispute_id, periods.period_start desc
)

select
    disputes.dispute_id::text as dispute_id,
    disputes.unit_code::text as unit_code,
    disputes.disputed_feed::text as disputed_feed,
    disputes.disputed_key::text as disputed_key,
    disputes.reason_code::text as reason_code,
    disputes.raised_at::timestamptz as raised_at,
    case
        when records.dispute_id is not null then 'found'
        when disputes.disputed_feed in ('{{ feeds | join("', '") }}') then 'not_found' -- noqa: LT05
        else 'unknown_feed'
    end::text as record_status,
    records.unit_code::text as record_unit_code,
    (records.unit_code = disputes.unit_code)::boolean as is_own_record,
    records.event_on::date as event_on,
    months.period_code::text as period_code,
    months.cutoff_at::timestamp as cutoff_at,
    ({{ local_time('disputes.raised_at') }} < months.cutoff_at)::boolean as is_before_cutoff,
    (batches.loaded_at > disputes.raised_at)::boolean as is_record_loaded_since,
    disputes.decided_at::timestamptz as decided_at,
    disputes.decision_code::text as decision_code,
    case
        when disputes.decision_code in ('accepted', 'rejected') then disputes.decision_code
        when disputes.decided_at is not null then 'decided'
        else 'open'
    end::text as state
from disputes
left join records on disputes.dispute_id = records.dispute_id
left join months on disputes.dispute_id = months.dispute_id
left join batches on records.batch_id = batches.batch_id
