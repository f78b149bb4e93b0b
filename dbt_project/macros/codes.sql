{#
  Our code for a source's. Looked up in one value, not joined: it stays one pass over the records, whatever the planner believes
  about the size of the map. A code that is unknown or ignored has no target.

  Without a CTE, as the views of versions are: PostgreSQL never looks into a view that has one, and reads all of it instead of
  the few records that an incremental build asks for.
#}
{% macro target_of(system, kind, source_code) -%}
    (select maps.targets from {{ ref('stg_register__code_map') }} as maps where maps.system = '{{ system }}')
    ->> ('{{ kind }}|' || ({{ source_code }}))
{%- endmacro %}
