{#
  Index A's judgement of dossiers that have a result: CTEs `population` to `compared`, which has its columns exclusion_reason and lateness. `rules` is a CTE of policies, or of readings
  of them, with their parameters; its columns `also` are handed on, and only pairs of dossier and rule for which `only` holds are
  looked at. Wants CTEs `dossiers`, `procedures`, `days` and `units`.
#}
{% macro timeliness(rules, also=[], only=none) -%}
population as (
    select
        dossiers.*,
        {{ attributed_to('dossiers', rules) }} as unit_code,
        {{ rules }}.inherited_overdue,
        {{ rules }}.policy_id,
        {%- for column in also %}
        {{ rules }}.{{ column }},
        {%- endfor %}
        {{ rules }}.due_missing,
        {{ rules }}.at_once_cutoff,
        {{ rules }}.midnight_is_date,
        {{ rules }}.a_grace_working_days,
        {{ rules }}.a_point_within_grace,
        {{ is_date_only('dossiers.received_at', 'dossiers.received_at_is_date', rules) }} as received_is_date,
        {{ is_date_only('dossiers.result_at', 'dossiers.result_at_is_date', rules) }} as result_is_date,
        {{ due_basis('dossiers', rules) }} as due_basis
    from dossiers
    inner join {{ rules }}
        on
            dossiers.result_on >= {{ rules }}.valid_from
            and ({{ rules }}.valid_to is null or dossiers.result_on < {{ rules }}.valid_to)
            and dossiers.status_code = any(string_to_array({{ rules }}.result_statuses, ','))
            {%- if only %}
            and ({{ only }})
            {%- endif %}
),

{{ due_moment('population') }},

-- Overdue already when the unit that gives the result took over: it was received and due before the unit began.
handed_over as (
    select
        rolled.*,
        {{ not_after('rolled.received_at', 'rolled.received_is_date', 'rolled.result_at', 'rolled.result_is_date') }}
            as is_received_first,
        coalesce(
            units.valid_from > rolled.receipt_on and units.valid_from > rolled.due_on
            and units.valid_from <= rolled.result_on,
            false
        ) as is_inherited_overdue
    from rolled
    left join units on rolled.unit_code = units.unit_code
),

examined as (
    select
        handed_over.*,
        case
            when handed_over.is_test_record then 'test_record'
            when not handed_over.is_received_first then 'finish_before_receipt'
            when handed_over.due_on is null then 'no_due_date'
            when handed_over.is_inherited_overdue and handed_over.inherited_overdue = 'exclude' then 'inherited_overdue'
        end as exclusion_reason,
        case
            when handed_over.due_is_date or handed_over.result_is_date then handed_over.result_on > handed_over.due_on
            else handed_over.result_at > handed_over.recorded_due_at
        end as is_late,
        -- Working days after the due date, up to the day of the result; before the calendar begins none is counted.
        result_day.working_day_number - coalesce(due_day.working_day_number, 0) as working_days_late
    from handed_over
    left join days as result_day on handed_over.result_on = result_day.day
    left join days as due_day on handed_over.due_on = due_day.day
),

compared as (
    select
        examined.*,
        case
            when examined.exclusion_reason is not null then null
            when not examined.is_late then 'in_time'
            when examined.working_days_late <= examined.a_grace_working_days then 'within_grace'
            else 'late'
        end as lateness
    from examined
)
{%- endmacro %}

{# The point of a dossier that counts. #}
{% macro a_point(lateness, rules) -%}
    case {{ lateness }} when 'in_time' then 1 when 'within_grace' then {{ rules }}.a_point_within_grace when 'late' then 0 end
{%- endmacro %}
