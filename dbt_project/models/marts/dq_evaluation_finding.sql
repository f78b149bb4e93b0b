-- Grain: one row per line of an evaluation that counts nowhere, with the first reason that holds.
{{ config(alias='evaluation_finding', unique_key=['evaluator_kind', 'record_key']) }}

with lines as (
    select * from {{ ref('fct_evaluation') }}
),

written as (
    select
        'internal' as evaluator_kind,
        sheet_id as record_key,
        unit_code,
        period_code
    from {{ ref('core_internal_evaluation') }}
    union all
    select
        'authority' as evaluator_kind,
        sheet_id as record_key,
        unit_code,
        period_code
    from {{ ref('core_authority_evaluation') }}
    union all
    select
        'self' as evaluator_kind,
        line_id as record_key,
        unit_code,
        period_code
    from {{ ref('core_self_evaluation') }}
    union all
    select
        'organisation' as evaluator_kind,
        result_id as record_key,
        unit_code,
        null as period_code
    from {{ ref('core_survey_result') }}
),

-- A survey stands in several periods; what is wrong with it is wrong in each.
used as (
    select
        evaluator_kind,
        record_key,
        min(exclusion_reason) as exclusion_reason,
        bool_or(exclusion_reason is null or exclusion_reason = 'about_official') as is_in_place
    from lines
    group by evaluator_kind, record_key
)

select
    written.evaluator_kind::text as evaluator_kind,
    written.record_key::text as record_key,
    written.unit_code::text as unit_code,
    written.period_code::text as period_code,
    case
        when written.unit_code is null then 'no_unit'
        else coalesce(used.exclusion_reason, 'no_window')
    end::text as finding
from written
left join used on written.evaluator_kind = used.evaluator_kind and written.record_key = used.record_key
where not coalesce(used.is_in_place, false)
