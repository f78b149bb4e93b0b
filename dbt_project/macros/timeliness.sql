{#
  A dossier's moments under its rules: CTEs `population` to `judged`. `dossiers` is a CTE of dossiers with `judged_on`, the day
  whose rules hold for them; `rules` one of policies, or of readings of them, with their parameters. Its columns `also` are
  handed on, and only pairs of dossier and rule for which `only` holds are looked at. `join='left'` keeps dossiers on whose
  day no rule was in force. Wants CTEs `procedures`, `days` and `units`.
#}
{% macro timeliness(rules, also=[], only=none, join='inner') -%}
population as (
    select
        dossiers.*,
        {{ attributed_to('dossiers', rules) }} as unit_code,
        {{ rules }}.policy_id,
        {%- for column in also %}
        {{ rules }}.{{ column }},
        {%- endfor %}
        {{ rules }}.inherited_overdue,
        {{ rules }}.due_missing,
        {{ rules }}.at_once_cutoff,
        {{ rules }}.midnight_is_date,
        {{ rules }}.a_grace_working_days,
        coalesce(
            dossiers.result_at is not null
            and dossiers.status_code = any(string_to_array({{ rules }}.result_statuses, ',')),
            false
        ) as is_result,
        {{ is_date_only('dossiers.received_at', 'dossiers.received_at_is_date', rules) }} as received_is_date,
        {{ is_date_only('dossiers.result_at', 'dossiers.result_at_is_date', rules) }} as result_is_date,
        {{ due_basis('dossiers', rules) }} as due_basis
    from dossiers
    {%- if only %}
    -- Many rules are looked through for each dossier: by itself the planner would read all dossiers for each of them.
    {{ join }} join lateral (
        select * from {{ rules }}
        where
            dossiers.judged_on >= {{ rules }}.valid_from
            and ({{ rules }}.valid_to is null or dossiers.judged_on < {{ rules }}.valid_to)
            and ({{ only }})
        offset 0
    ) as {{ rules }} on true
    {%- else %}
    {{ join }} join {{ rules }}
        on
            dossiers.judged_on >= {{ rules }}.valid_from
            and ({{ rules }}.valid_to is null or dossiers.judged_on < {{ rules }}.valid_to)
    {%- endif %}
),

{{ due_moment('population') }},

-- Overdue already when the unit that gives the result took over: it was received and due before the unit began.
judged as (
    select
        rolled.*,
        {{ not_after('rolled.received_at', 'rolled.received_is_date', 'rolled.result_at', 'rolled.result_is_date') }}
            as is_received_first,
        coalesce(
            units.valid_from > rolled.receipt_on and units.valid_from > rolled.due_on
            and units.valid_from <= rolled.result_on,
            false
        ) as is_inherited_overdue,
        case
            when rolled.due_is_date or rolled.result_is_date then rolled.result_on > rolled.due_on
            else rolled.result_at > rolled.recorded_due_at
        end as is_late,
        -- Working days after the due date, up to the day of the result; before the calendar begins none is counted.
        result_day.working_day_number - coalesce(due_day.working_day_number, 0) as working_days_late
    from rolled
    left join units on rolled.unit_code = units.unit_code
    left join days as result_day on rolled.result_on = result_day.day
    left join days as due_day on rolled.due_on = due_day.day
    offset 0
)
{%- endmacro %}

{# Why a dossier of index A's population does not count; the first reason that holds. #}
{% macro a_exclusion(dossier, rules) -%}
    case
        when {{ dossier }}.is_test_record then 'test_record'
        when not {{ dossier }}.is_received_first then 'finish_before_receipt'
        when {{ dossier }}.due_on is null then 'no_due_date'
        when {{ dossier }}.is_inherited_overdue and {{ rules }}.inherited_overdue = 'exclude' then 'inherited_overdue'
    end
{%- endmacro %}

{# How late a dossier is that counts. #}
{% macro a_lateness(dossier, rules) -%}
    case
        when {{ dossier }}.exclusion_reason is not null then null
        when not {{ dossier }}.is_late then 'in_time'
        when {{ dossier }}.working_days_late <= {{ rules }}.a_grace_working_days then 'within_grace'
        else 'late'
    end
{%- endmacro %}

{# The point of a dossier that counts. #}
{% macro a_point(lateness, rules) -%}
    case {{ lateness }} when 'in_time' then 1 when 'within_grace' then {{ rules }}.a_point_within_grace when 'late' then 0 end
{%- endmacro %}
