{#
  The newest batch that a build reads (hailong.warehouse.build). It differs from build to build, so it comes by the environment and
  is read while a build runs only: for a variable that changed dbt would parse the whole project again.
#}
{% macro as_of_batch() -%}
    {{ env_var('HAILONG_AS_OF_BATCH') | int if execute else 0 }}
{%- endmacro %}

{#
  Every staging model reads raw rows through this filter: a build sees one past state, whatever is loaded meanwhile. A restatement
  builds states between two: of what came after a batch only the records to which certain things happened
  (hailong.publish.restate).
#}
{% macro as_of(feed='', rows='') -%}
    {%- set rows = rows ~ '.' if rows else '' -%}
    {%- set since = env_var('HAILONG_COUNTED_SINCE', '') if execute else '' -%}
    {{ rows }}batch_id <= {{ as_of_batch() }}
    {%- if feed and since %}
    and (
        {{ rows }}batch_id <= {{ since | int }}
        or {{ rows }}record_key in (
            select told.record_key
            from ops.restated_record as told
            where
                told.feed = '{{ feed }}'
                and told.cause = any(string_to_array('{{ env_var('HAILONG_COUNTED') }}', ','))
        )
    )
    {%- endif %}
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
    where {{ as_of(relation.identifier) }}
    order by record_key, batch_id desc
{%- endmacro %}
