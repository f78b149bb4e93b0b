{# Wall clock of the city. #}
{% macro local_time(moment) -%}
    ({{ moment }} at time zone '{{ var("timezone") }}')
{%- endmacro %}

{% macro local_date(moment) -%}
    {{ local_time(moment) }}::date
{%- endmacro %}

{# A moment known to the day only: the source said so, or its clock stands at midnight and the policy takes that as a date. #}
{% macro is_date_only(moment, source_flag, policy) -%}
    coalesce(
        {{ source_flag }}
        or ({{ policy }}.midnight_is_date and {{ is_midnight(moment) }}),
        false
    )
{%- endmacro %}

{# Its clock stands at midnight. #}
{% macro is_midnight(moment) -%}
    coalesce({{ local_time(moment) }}::time = '00:00:00', false)
{%- endmacro %}

{# Two moments compared at the coarser precision of the two: earlier, or at the same moment or day. #}
{% macro not_after(earlier, earlier_is_date, later, later_is_date) -%}
    case
        when {{ earlier_is_date }} or {{ later_is_date }}
            then {{ local_date(earlier) }} <= {{ local_date(later) }}
        else {{ earlier }} <= {{ later }}
    end
{%- endmacro %}
