{# The point of a rating that counts: the annex knows good and normal, the sources three levels. #}
{% macro c_point(rating, rules) -%}
    case
        when {{ rating }}.level_class = 'good' then 1
        when {{ rating }}.level_class = 'middle' then ({{ rules }}.c_middle_level = 'good')::integer
        else 0
    end
{%- endmacro %}

{# Whether ratings of a kind answer the rule's question and came by one of its channels. #}
{% macro c_is_counted(case, rules) -%}
    ({{ case }}.question_code = '' or {{ case }}.question_code = {{ rules }}.c_question)
    and (
        {{ rules }}.c_channels = 'art9'
        or ({{ case }}.is_city_system and {{ case }}.status_code = any(string_to_array({{ rules }}.result_statuses, ',')))
    )
{%- endmacro %}

{#
  Daily sums of index C: CTEs `c_counted` and `c_days`, one row per unit, day and rule with ratings that answer the rule's
  question and came by one of its channels, under the policy of their day. `rules` is a CTE of policies, or of readings of
  them told apart by their columns `also`. Wants CTEs `policies` and `c_cases`.
#}
{% macro attitude(rules, also=[]) -%}
c_counted as (
    select
        c_cases.unit_code,
        c_cases.event_on,
        c_cases.ratings,
        {{ rules }}.policy_id,
        {%- for column in also %}
        {{ rules }}.{{ column }},
        {%- endfor %}
        {{ c_point('c_cases', rules) }} as point,
        {{ rules }}.c_repeat = 'last_per_dossier_day' and c_cases.recency > min(c_cases.recency) over (
            partition by {{ rules }}.policy_id, {% for column in also %}{{ rules }}.{{ column }}, {% endfor %}c_cases.dossier_code, c_cases.event_on
        ) as is_repeated
    from c_cases
    inner join policies
        on
            c_cases.event_on >= policies.valid_from
            and (policies.valid_to is null or c_cases.event_on < policies.valid_to)
    {%- if rules != 'policies' %}
    inner join {{ rules }} on policies.policy_id = {{ rules }}.policy_id
    {%- endif %}
    where {{ c_is_counted('c_cases', rules) }}
),

c_days as (
    select
        unit_code,
        event_on,
        policy_id,
        {%- for column in also %}
        {{ column }},
        {%- endfor %}
        coalesce(sum(ratings * point) filter (where not is_repeated), 0) as points,
        coalesce(sum(ratings) filter (where not is_repeated), 0) as ratings,
        coalesce(sum(ratings) filter (where is_repeated), 0) as repeated
    from c_counted
    group by unit_code, event_on, policy_id{% for column in also %}, {{ column }}{% endfor %}
)
{%- endmacro %}
