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

{# By how much a point of the portal's two petition metrics counts in D: alone, they are stretched to its whole range. #}
{% macro d_petition_weight(rules, policy) -%}
    case {{ rules }}.d_definition
        when 'petition_rescaled'
            then trim_scale({{ policy }}.d_max / ({{ policy }}.d_metric_max + {{ policy }}.d_metric_max))
        else 1
    end
{%- endmacro %}

{# Whether the portal's dossier metric may stand in D: it is a nought where no dossier was rated, which the policy may refuse. #}
{% macro d_dossier_counts(scores, rules) -%}
    ({{ rules }}.d_zero_dossier = 'portal' or coalesce({{ scores }}.dossier_denominator <> 0, true))
{%- endmacro %}

{#
  D of a unit from the portal's `scores`, and from as_new_on_time_score and as_new_handling_score beside them, counted here; null
  when what the definition needs was not told, or not read.
#}
{% macro d_value(scores, rules, policy) -%}
    case {{ rules }}.d_definition
        when 'portal_group'
            then case when {{ d_dossier_counts(scores, rules) }} then {{ scores }}.total_score end
        when 'recomputed_104'
            then case
                when {{ d_dossier_counts(scores, rules) }}
                    then {{ scores }}.as_new_on_time_score + {{ scores }}.as_new_handling_score + {{ scores }}.dossier_score
            end
        else
            ({{ scores }}.on_time_score + {{ scores }}.handling_score) * {{ d_petition_weight(rules, policy) }}
    end
{%- endmacro %}

{# The highest D there is under the definition. #}
{% macro d_maximum(scores, rules, policy) -%}
    case {{ rules }}.d_definition
        when 'portal_group' then {{ scores }}.total_max_score
        when 'petition_12' then {{ policy }}.d_metric_max + {{ policy }}.d_metric_max
        else {{ policy }}.d_max
    end
{%- endmacro %}

{# Why D has no value, and its status: without petitions nothing is missing that a person must look at. #}
{% macro d_missing_reason(scores, rules) -%}
    case
        when {{ scores }}.value is not null then null
        when {{ rules }}.d_definition = 'portal_group' and {{ scores }}.total_score is not null then 'no_dossier_rated'
        when {{ rules }}.d_definition = 'recomputed_104' and {{ scores }}.dossier_score is not null
            then case when {{ d_dossier_counts(scores, rules) }} then 'petitions_not_read' else 'no_dossier_rated' end
        else 'portal_score_missing'
    end
{%- endmacro %}

{% macro d_status(petitions) -%}
    case
        when {{ petitions }}.value is not null then 'scored'
        when {{ petitions }}.missing_reason in ('no_dossier_rated', 'petitions_not_read') then 'no_data'
        when {{ petitions }}.total_petitions > 0 then 'blocked_by_quality'
        else 'no_data'
    end
{%- endmacro %}

{# K of the sum of the indices that are there and the maxima of those that are not; null where the reading wants them all. #}
{% macro k_of(sums, rules, whole) -%}
    case
        when {{ sums }}.missing = 0 or {{ rules }}.missing_index = 'zero'
            then {{ round_k(sums ~ '.present', rules) }}
        when {{ rules }}.missing_index = 'rescale' and {{ sums }}.missing < {{ whole }}.whole
            then {{ round_k(
                sums ~ '.present * ' ~ quotient(whole ~ '.whole', '(' ~ whole ~ '.whole - ' ~ sums ~ '.missing)'), rules
            ) }}
    end
{%- endmacro %}
