{# Schemas are exactly staging, core, facts, marts, rules; a build of a past state puts its prefix before them. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ var('schema_prefix') }}{{ custom_schema_name or target.schema }}
{%- endmacro %}
