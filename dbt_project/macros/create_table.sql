{#
  A table under contract: its rows first (a query that makes a table may run on several cores, one that inserts may not),
  then not-nulls and checks in one pass over them, then primary and foreign keys: four times faster on big tables than
  inserting into a table that has its keys. The types are those of the contract: `hailong.warehouse.constraints` compares
  them. Foreign keys cascade: when a row vanishes, what hangs on it goes too, and the models after it, in the same build,
  write what is still true. Each locks the table it points to until the model is done: all take them in one order, or two
  models at a time would wait for each other.
#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- if temporary %}
    create temporary table {{ relation }} as (
        {{ sql }}
    );
    {%- else %}
    {{ get_assert_columns_equivalent(sql) }}
    {%- set checks = model['constraints'] | selectattr('type', 'equalto', 'check') | list -%}
    {%- set foreign = model['constraints'] | selectattr('type', 'equalto', 'foreign_key') | sort(attribute='to') -%}
    {%- set keys = (model['constraints'] | rejectattr('type', 'in', ['check', 'foreign_key']) | list) + foreign -%}
    {%- set filled = [] -%}
    {%- for column in model['columns'].values() -%}
        {%- if column['constraints'] | selectattr('type', 'equalto', 'not_null') | list -%}
            {%- do filled.append('alter column ' ~ column['name'] ~ ' set not null') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for check in adapter.render_raw_model_constraints(raw_constraints=checks) -%}
        {%- do filled.append('add ' ~ check) -%}
    {%- endfor %}
    create table {{ relation }} as
    {{ get_select_subquery(sql) }};
    {%- if filled %}
    alter table {{ relation }}
    {{ filled | join(',\n    ') }};
    {%- endif %}
    {%- for key in keys %}
    alter table {{ relation }} add {{ adapter.render_raw_model_constraints(raw_constraints=[key])[0] }}
    {%- if key.type == 'foreign_key' %} on delete cascade{% endif %};
    {%- endfor %}
    {%- endif %}
{%- endmacro %}
