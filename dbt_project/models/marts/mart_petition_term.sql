-- Grain: one row per period, unit and term of Decision 766, of windows whose petitions were read: how many kept it, how many broke it.
{{ config(alias='petition_term', unique_key=['period_code', 'unit_code', 'term_code']) }}

with windows as (
    select * from {{ ref('core_unit_window') }}
    where not is_before_rule
),

counts as (
    select * from {{ ref('fct_d_petition_count') }}
    where base_code = 'own'
),

terms as (
    select distinct term_code from {{ ref('petition_term') }}
),

petition_terms as (
    select * from {{ ref('fct_d_petition_term') }}
),

petitions as (
    select * from {{ ref('fct_d_petition') }}
),

read_windows as (
    select
        windows.period_code,
        windows.unit_code,
        windows.window_start,
        windows.window_end,
        counts.judged_at,
        {{ local_date('counts.judged_at') }} as judged_on
    from windows
    inner join counts on windows.period_code = counts.period_code and windows.unit_code = counts.unit_code
),

-- A refused petition needs no answer; a term that nothing has met yet is broken when its last day has gone by.
ran as (
    select
        read_windows.period_code,
        read_windows.unit_code,
        petition_terms.term_code,
        case
            when petition_terms.met_at <= read_windows.judged_at then petition_terms.met_on
        end as met_on,
        petition_terms.last_on,
        read_windows.judged_on
    from read_windows
    inner join petition_terms
        on
            read_windows.unit_code = petition_terms.unit_code
            and read_windows.window_start <= petition_terms.received_on
            and read_windows.window_end > petition_terms.received_on
            and read_windows.judged_at >= petition_terms.started_at
    inner join petitions on petition_terms.petition_id = petitions.petition_id
    where
        (petition_terms.is_owed or petition_terms.met_at <= read_windows.judged_at)
        and not (
            petition_terms.is_owed
            and petitions.is_refused
            and coalesce(petitions.refused_at <= read_windows.judged_at, true)
        )
),

summed as (
    select
        period_code,
        unit_code,
        term_code,
        count(*) as ran,
        count(*) filter (where met_on <= last_on) as kept,
        count(*) filter (where coalesce(met_on, judged_on) > last_on) as broken
    from ran
    group by period_code, unit_code, term_code
)

select
    read_windows.period_code::text as period_code,
    read_windows.unit_code::text as unit_code,
    terms.term_code::text as term_code,
    read_windows.judged_at::timestamptz as judged_at,
    coalesce(summed.ran, 0)::bigint as ran,
    coalesce(summed.kept, 0)::bigint as kept,
    coalesce(summed.broken, 0)::bigint as broken,
    coalesce(summed.ran - summed.kept - summed.broken, 0)::bigint as running
from read_windows
cross join terms
left join summed
    on
        read_windows.period_code = summed.period_code
        and read_windows.unit_code = summed.unit_code
        and terms.term_code = summed.term_code
