{#
  The code map of one source system as a single value. Looked up, not joined: it stays one pass over the records, whatever
  the planner believes about the size of the map. A code that is unknown or ignored has no target.
#}
{% macro targets_by_code(system) -%}
    select coalesce(jsonb_object_agg(code_kind || '|' || source_code, target_code), '{}') as targets
    from {{ ref('stg_register__code') }}
    where system = '{{ system }}'
{%- endmacro %}

{# `code` is the name of the CTE made of `targets_by_code`. #}
{% macro target_of(kind, source_code) -%}
    (select code.targets from code) ->> ('{{ kind }}|' || ({{ source_code }}))
{%- endmacro %}
