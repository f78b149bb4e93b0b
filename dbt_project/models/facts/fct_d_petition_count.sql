-- Grain: one row per period, unit and base reading, of windows whose petitions were read: how many, and what became of them.
{{ config(
    unique_key=['period_code', 'unit_code', 'base_code'],
    post_hook="{{ note_periods(but=['read_until', 'judged_at']) }}",
) }}

{%- set states = ['refused', 'not_yet_due', 'answered', 'unanswered'] %}

with windows as (
    select * from {{ ref('core_unit_window') }}
    where not is_before_rule
),

spans as (
    select * from {{ ref('core_read_span') }}
    where feed = 'petition'
),

scores as (
    select * from {{ ref('core_portal_score') }}
),

sets as (
    select * from {{ ref('dim_reading_set') }}
    where index_code = 'D'
),

petitions as (
    select * from {{ ref('fct_d_petition') }}
),

rules as (
    select distinct
        policy_id,
        base_code,
        midnight_is_date
    from sets
),

-- When the portal was last asked at all: for windows that it has no row of.
asked as (
    select max(retrieved_at) as retrieved_at from scores
),

-- Petitions were read without a gap from the first day of the window to its end or, while it lasts, to the day on which the
-- portal was asked. They are judged as of that moment, or of the last one read.
read_windows as (
    select
        windows.period_code,
        windows.unit_code,
        windows.policy_id,
        windows.window_start,
        windows.window_end,
        spans.read_until,
        least(scores.retrieved_at, spans.read_until) as judged_at
    from windows
    cross join asked
    left join scores
        on
            windows.unit_code = scores.unit_code
            and windows.period_start = scores.window_from
            and windows.period_end = scores.window_to + 1
    inner join spans
        on
            windows.window_start >= {{ local_time('spans.read_from') }}
            and least(windows.window_end, {{ local_date('coalesce(scores.retrieved_at, asked.retrieved_at)') }})
            <= {{ local_time('spans.read_until') }}
),

judged as (
    select
        read_windows.period_code,
        read_windows.unit_code,
        read_windows.policy_id,
        read_windows.read_until,
        read_windows.judged_at,
        rules.base_code,
        petitions.petition_id,
        petitions.is_satisfied,
        petitions.resent_count + 1 as opinions,
        petitions.is_refused and coalesce(petitions.refused_at <= read_windows.judged_at, true) as is_refused,
        coalesce(petitions.answered_at <= read_windows.judged_at, false) as is_answered,
        petitions.answered_at,
        petitions.answered_on,
        petitions.due_at,
        petitions.due_on,
        {{ is_date_only('petitions.due_at', 'petitions.due_is_date', 'rules') }} as due_is_date
    from read_windows
    inner join rules on read_windows.policy_id = rules.policy_id
    left join petitions
        on
            read_windows.unit_code = petitions.unit_code
            and read_windows.window_start <= petitions.received_on
            and read_windows.window_end > petitions.received_on
            and read_windows.judged_at >= petitions.received_at
),

-- Counted is what was answered or is past its due date.
stated as (
    select
        judged.*,
        case
            when judged.petition_id is null then null
            when judged.is_refused then 'refused'
            when judged.is_answered then 'answered'
            when judged.due_is_date and judged.due_on < {{ local_date('judged.judged_at') }} then 'unanswered'
            when not judged.due_is_date and judged.due_at < judged.judged_at then 'unanswered'
            else 'not_yet_due'
        end as state,
        -- At the coarser precision of the two: an answer told by its day is that day's midnight, after no moment of it.
        case
            when judged.due_is_date then judged.answered_on <= judged.due_on
            else judged.answered_at <= judged.due_at
        end as is_in_time
    from judged
),

summed as (
    select
        period_code,
        unit_code,
        base_code,
        policy_id,
        read_until,
        judged_at,
        count(petition_id) as received,
        coalesce(sum(opinions), 0) as received_as_new,
        {%- for state in states %}
        count(*) filter (where state = '{{ state }}') as {{ state }},
        coalesce(sum(opinions) filter (where state = '{{ state }}'), 0) as {{ state }}_as_new,
        {%- endfor %}
        count(*) filter (where state = 'answered' and is_in_time) as in_time,
        count(*) filter (where state = 'answered' and is_satisfied) as satisfied
    from stated
    group by period_code, unit_code, base_code, policy_id, read_until, judged_at
)

select
    period_code::text as period_code,
    unit_code::text as unit_code,
    base_code::text as base_code,
    policy_id::text as policy_id,
    read_until::timestamptz as read_until,
    judged_at::timestamptz as judged_at,
    received::bigint as received,
    received_as_new::bigint as received_as_new,
    refused::bigint as refused,
    refused_as_new::bigint as refused_as_new,
    not_yet_due::bigint as not_yet_due,
    not_yet_due_as_new::bigint as not_yet_due_as_new,
    (answered + unanswered)::bigint as counted,
    (answered_as_new + unanswered_as_new)::bigint as counted_as_new,
    unanswered::bigint as unanswered,
    unanswered_as_new::bigint as unanswered_as_new,
    in_time::bigint as in_time,
    satisfied::bigint as satisfied
from summed
