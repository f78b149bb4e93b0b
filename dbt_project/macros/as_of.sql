{#
  The newest batch that a build reads (hailong.warehouse.build). It differs from build to build, so it comes by the environment and
  is read while a build runs only: for a variable that changed dbt would parse the whole project again.
#}
{% macro as_of_batch() -%}
    {{ env_var('HAILONG_AS_OF_BATCH') | int if execute else 0 }}
{%- endmacro %}

{# Every staging model reads raw rows through this filter: a build sees one past state, whatever is loaded meanwhile. #}
{% macro as_of() -%}
    batch_id <= {{ as_of_batch() }}
{%- endmacro %}

{#
  The version in force of each record of a feed: the newest batch that holds it, and the first that ever did. Deletions
  are left out by `op`.
#}
{% macro version_in_force(relation) -%}
    select distinct on (record_key)
        *,
        min(batch_id) over (partition by record_key) as first_batch_id
    from {{ relation }}
    where {{ as_of() }}
    order by record_key, batch_id desc
{%- endmacro %}
