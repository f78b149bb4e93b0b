{#
  The due moment of dossiers: CTEs `recorded`, `limited`, `due`, `rolled`. `population` has a dossier's columns, its `policy_id`
  with due_missing, at_once_cutoff and midnight_is_date, `received_is_date`, and `due_basis`: source_current, supplement or
  first. Wants CTEs `procedures` and `days`; adds receipt_on, recorded_due_at, due_on and due_is_date.

  `offset 0` changes no row: it keeps the planner from putting the whole of a CASE in every place that names its column.
#}
{% macro due_moment(population) -%}
recorded as (
    select
        {{ population }}.*,
        {{ local_date(population ~ '.received_at') }} as receipt_on,
        case {{ population }}.due_basis
            when 'source_current' then {{ population }}.source_due_at
            when 'supplement' then {{ population }}.restart_due_at
            when 'first' then {{ population }}.first_due_at
        end as recorded_due_at,
        case {{ population }}.due_basis
            when 'source_current' then {{ population }}.source_due_at_is_date
            when 'supplement' then {{ population }}.restart_due_at_is_date
            when 'first' then {{ population }}.first_due_at_is_date
        end as recorded_due_is_date
    from {{ population }}
    offset 0
),

-- Without a recorded due date: the procedure's own limit, in working days after the day of receipt.
limited as (
    select
        recorded.*,
        case
            when recorded.recorded_due_at is not null or recorded.due_missing <> 'procedure' then null
            when procedures.is_at_once and recorded.received_is_date then 0
            when procedures.is_at_once
                then ({{ local_time('recorded.received_at') }}::time >= recorded.at_once_cutoff)::integer
            else procedures.limit_working_days
        end as limit_days
    from recorded
    left join procedures on recorded.procedure_code = procedures.procedure_code
),

due as (
    select
        limited.*,
        case
            when limited.recorded_due_at is not null then {{ local_date('limited.recorded_due_at') }}
            when limited.limit_days = 0 then limited.receipt_on
            else limit_day.day
        end as term_on,
        limited.recorded_due_at is null
        or {{ is_date_only('limited.recorded_due_at', 'limited.recorded_due_is_date', 'limited') }}
            as term_is_date
    from limited
    left join days as receipt_day on limited.receipt_on = receipt_day.day
    left join days as limit_day
        on
            limit_day.is_working_day
            and receipt_day.working_day_number + limited.limit_days = limit_day.working_day_number
    offset 0
),

-- A term that ends on a day off ends with the next working day; a day outside the calendar stays as it is.
rolled as (
    select
        due.*,
        coalesce(term_day.term_ends_on, due.term_on) as due_on,
        due.term_is_date or coalesce(term_day.term_ends_on <> due.term_on, false) as due_is_date
    from due
    left join days as term_day on due.term_on = term_day.day
    offset 0
)
{%- endmacro %}

{# Which recorded due date counts. #}
{% macro due_basis(dossier, policy) -%}
    case
        when {{ policy }}.due_basis = 'source_current' then 'source_current'
        when {{ policy }}.due_basis = 'legal' and {{ dossier }}.restart_due_at is not null then 'supplement'
        else 'first'
    end
{%- endmacro %}

{# The unit a dossier belongs to. #}
{% macro attributed_to(dossier, policy) -%}
    case {{ policy }}.attribution
        when 'resolving' then {{ dossier }}.resolving_unit_code
        when 'receiving' then {{ dossier }}.receiving_unit_code
    end
{%- endmacro %}
