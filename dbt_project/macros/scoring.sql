{# An index: exact quotient, 15 decimals. The widened scale keeps the division from rounding before the last digit. #}
{% macro quotient(numerator, denominator) -%}
    round(({{ numerator }})::numeric(50, 30) / nullif({{ denominator }}, 0), 15)
{%- endmacro %}

{# Part II.2 of the annex: above the threshold satisfied, below it not; at it the text is silent and the policy says. #}
{% macro verdict(k, policy) -%}
    case
        when {{ k }} > {{ policy }}.k_threshold then 'satisfied'
        when {{ k }} < {{ policy }}.k_threshold then 'not_satisfied'
        when {{ k }} = {{ policy }}.k_threshold then {{ policy }}.k_equal
    end
{%- endmacro %}

{# The portal's formula for its petition metrics: without petitions the full score. #}
{% macro petition_score(numerator, denominator, policy) -%}
    case
        when {{ denominator }} = 0 then {{ policy }}.d_metric_max
        else {{ policy }}.d_metric_max * {{ numerator }} / {{ denominator }}
    end
{%- endmacro %}
