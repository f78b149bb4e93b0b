{#
  What a single case could make of points divided by records. Of one more, one fewer and one judged otherwise the last goes
  furthest, so it stands for all three; where there is no record, one more could make anything.
#}
{% macro one_case_better(numerator, denominator) -%}
    case
        when {{ denominator }} = 0 then 1
        else {{ quotient('least(' ~ numerator ~ ' + 1, ' ~ denominator ~ ')', denominator) }}
    end
{%- endmacro %}

{% macro one_case_worse(numerator, denominator) -%}
    case
        when {{ denominator }} = 0 then 0
        else {{ quotient('greatest(' ~ numerator ~ ' - 1, 0)', denominator) }}
    end
{%- endmacro %}

{#
  What a single case adds to a `metric` of the portal, as the portal prints it (two decimals): `formula` is petition_score or
  dossier_score. Where there is no record, one more could bring the metric to its end.
#}
{% macro metric_step(formula, metric, policy, is_better) -%}
    {%- set numerator, denominator = metric ~ '_numerator', metric ~ '_denominator' -%}
    {%- set changed = 'least(' ~ numerator ~ ' + 1, ' ~ denominator ~ ')' if is_better
        else 'greatest(' ~ numerator ~ ' - 1, 0)' -%}
    round(
        case
            when {{ denominator }} = 0 then {{ formula('1' if is_better else '0', '1', policy) }}
            else {{ formula(changed, denominator, policy) }}
        end, 2
    ) - round({{ formula(numerator, denominator, policy) }}, 2)
{%- endmacro %}

{# Wilson's bounds of a share of `denominator` records, z standard deviations wide; `sign` is + or -. #}
{% macro wilson(numerator, denominator, z, sign) -%}
    round(
        (
            2 * {{ numerator }} + {{ z }} * {{ z }} {{ sign }} {{ z }} * sqrt(
                {{ z }} * {{ z }}
                + {{ quotient('4 * ' ~ numerator ~ ' * (' ~ denominator ~ ' - ' ~ numerator ~ ')', denominator) }}
            )
        ) / (2 * ({{ denominator }} + {{ z }} * {{ z }})), 6
    )
{%- endmacro %}
