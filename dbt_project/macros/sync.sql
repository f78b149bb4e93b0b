{#
  Incremental strategy `sync`: afterwards the table holds exactly the rows of the query. Rows whose key vanished are
  deleted, rows that differ are updated, new ones inserted; the rest is not touched and the table is never dropped, so
  keys that point at it survive.

  A model whose query is limited to what was touched says with `scope`, a condition on `held`, which rows of the table
  the query stands for: no other is deleted.
#}
{% macro get_incremental_sync_sql(arg_dict) -%}
    {%- set target = arg_dict['target_relation'] -%}
    {%- set source = arg_dict['temp_relation'] -%}
    {%- set key = arg_dict['unique_key'] -%}
    {%- set key = [key] if key is string else key -%}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='name') | list -%}
    {%- set others = columns | reject('in', key) | list -%}
    {%- set scope = config.get('scope') -%}
    delete from {{ target }} as held
    where
        {%- if scope %}
        {{ scope }}
        and
        {%- endif %}
        not exists (
            select 1 from {{ source }} as found
            where {% for column in key %}found.{{ column }} = held.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
        );

    insert into {{ target }} as held ({{ columns | join(', ') }})
    select {{ columns | join(', ') }}
    from {{ source }} as found
    {%- if others %}
    -- Of most tables most rows are as they were: compared in one pass, not one by one at the key.
    where not exists (
        select 1 from {{ target }} as held
        where
            {% for column in key %}held.{{ column }} = found.{{ column }}
            and {% endfor %}(held.{{ others | join(', held.') }}) is not distinct from (found.{{ others | join(', found.') }})
    )
    {%- endif %}
    on conflict ({{ key | join(', ') }})
    {%- if others %} do update set
        {%- for column in others %}
        {{ column }} = excluded.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    {%- else %} do nothing
    {%- endif %};
{%- endmacro %}
