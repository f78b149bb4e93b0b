{# Why nothing is to be scored, before looking at any data; the first reason that holds. #}
{% macro barred_by(unit_window, duty) -%}
    case
        when {{ unit_window }}.is_before_rule then 'before_policy'
        when {{ unit_window }}.is_sub_unit and not {{ duty }}.owed_by_sub_unit then 'sub_unit'
        when {{ unit_window }}.is_receiving_only and not {{ duty }}.owed_by_receiving_unit then 'receiving_only'
        when {{ unit_window }}.is_too_short then 'window_too_short'
    end
{%- endmacro %}

{% macro barred_status(barred_by) -%}
    case
        when {{ barred_by }} = 'before_policy' then 'before_rule'
        when {{ barred_by }} is not null then 'not_applicable'
    end
{%- endmacro %}

{# Points divided by records, to 40 decimals: what is rounded to fewer afterwards is rounded as the exact quotient. #}
{% macro quotient(numerator, denominator) -%}
    ({{ numerator }})::numeric(60, 40) / nullif({{ denominator }}, 0)
{%- endmacro %}

{# K and what is like it: a sum of such quotients, the tail of the division taken off first, half away from zero. #}
{% macro round_k(exact, policy) -%}
    round(round({{ exact }}, 30), {{ policy }}.k_scale)
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
        else {{ quotient(policy ~ '.d_metric_max * ' ~ numerator, denominator) }}
    end
{%- endmacro %}

{# The portal's formula for its dossier metric: without dossiers nothing. #}
{% macro dossier_score(numerator, denominator, policy) -%}
    case
        when {{ denominator }} = 0 then 0
        else least(
            {{ policy }}.d_metric_max,
            {{ quotient(policy ~ '.d_metric_max * ' ~ numerator, denominator) }} / {{ policy }}.d_dossier_full_share
        )
    end
{%- endmacro %}
