{#
  What comes out of a window or a distinct has no statistics: the planner takes it for a row or two and joins by nested loop, rows
  times rows, or sorts millions where it could hash. Without those choices it hashes; where there is no other way it loops or
  sorts all the same. A model that looks a few touched records up in a big table says `looks_up`: its incremental builds may loop,
  and they take a page found by an index for cheaper than one read in a row: what changes together lies side by side
  (`written_by`), so most such pages were read for the record before.
#}
{% macro plan() -%}
    {%- if model.config.materialized != 'view' -%}
    {%- if config.get('looks_up') and is_increment() -%}
    set local random_page_cost = 0.5
    {%- else -%}
    set local enable_nestloop = off;
    set local enable_mergejoin = off;
    set local enable_sort = off;
    set local parallel_setup_cost = 100;
    set local parallel_tuple_cost = 0.01
    {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{#
  A full build writes the rows that change together, and that a night asks for together, side by side: a night then reads as many
  pages as it has rows to look at, however long the history. An increment appends, which keeps the order.
#}
{% macro written_by(column) -%}
    {%- if not is_increment() -%} order by {{ column }} {%- endif -%}
{%- endmacro %}

{# Sums and joins after this table are planned by what is in it. #}
{% macro look_at() -%}
    {%- if model.config.materialized != 'view' -%}
    analyze {{ this }}
    {%- endif -%}
{%- endmacro %}

{#
  An increment asks more than once what was touched, and models beside it note more meanwhile: it sees one state throughout, or
  it would delete in cells that it did not look at.
#}
{% macro one_state() -%}
    {%- if is_increment() -%}
    set transaction isolation level repeatable read
    {%- endif -%}
{%- endmacro %}

{# Comments follow the rule set, and another rule set makes a full build: an increment need not write them all again. #}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not (env_var('HAILONG_INCREMENT', '') and model.config.materialized == 'incremental') -%}
    {{ return(default__persist_docs(relation, model, for_relation, for_columns)) }}
    {%- endif -%}
{%- endmacro %}

{# A contract holds a table to the columns that are described: none need be looked up before it is commented on. #}
{% macro postgres__alter_column_comment(relation, column_dict) -%}
    {%- for column in column_dict.values() if column['description'] %}
    comment on column {{ relation }}.{{ column['name'] }} is {{ postgres_escape_comment(column['description']) }};
    {%- endfor %}
{%- endmacro %}
