{#
  Index B's count: CTEs `requests` and `returns`, the requests for supplement between receipt and result. `dossiers` is a CTE of
  dossiers with the precision of their moments, one row per `key`; `policies` has midnight_is_date. Wants a CTE `supplements`.
#}
{% macro returns(dossiers, policies, key) -%}
requests as (
    select
        {%- for column in key %}
        {{ dossiers }}.{{ column }},
        {%- endfor %}
        supplements.supplement_id,
        supplements.requested_at,
        {{ is_date_only('supplements.requested_at', 'supplements.requested_at_is_date', policies) }}
            as requested_is_date,
        {{ dossiers }}.received_at,
        {{ dossiers }}.received_is_date,
        {{ dossiers }}.result_at,
        {{ dossiers }}.result_is_date
    from supplements
    inner join {{ dossiers }} on supplements.dossier_code = {{ dossiers }}.dossier_code
    {%- if policies != dossiers %}
    inner join {{ policies }} on {{ dossiers }}.policy_id = {{ policies }}.policy_id
    {%- endif %}
),

-- A receipt that is missing sets no lower bound.
returns as (
    select
        {{ key | join(', ') }},
        count(distinct supplement_id) as return_count
    from requests
    where
        coalesce({{ not_after('received_at', 'received_is_date', 'requested_at', 'requested_is_date') }}, true)
        and {{ not_after('requested_at', 'requested_is_date', 'result_at', 'result_is_date') }}
    group by {{ key | join(', ') }}
)
{%- endmacro %}

{# Where the policy looks at returned dossiers only, the others are no cases. #}
{% macro b_is_left_out(dossier, rules) -%}
    {{ rules }}.b_population = 'returned' and {{ dossier }}.return_count = 0
{%- endmacro %}

{# The point of a dossier that counts; only what exceeds the permitted number where the policy says so. #}
{% macro b_point(dossier, rules) -%}
    (
        case {{ rules }}.b_threshold
            when 'absolute' then {{ dossier }}.return_count
            when 'beyond_permitted' then {{ dossier }}.return_count - {{ dossier }}.permitted_returns
        end <= policies.b_max_returns
    )::integer
{%- endmacro %}
