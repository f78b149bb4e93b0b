{#
  What an incremental build looks at again; a model uses these where `is_increment()`, a full build looks at everything.
  `ops.touched_record`: records that a batch since the last finished build told of. `ops.touched_cell`, `ops.touched_period`:
  what rows that changed since then lie in; tables note it themselves, by triggers, in the transaction of the change
  (`note_cells`, `note_periods`), so that nothing that changes a row can forget it and a killed build leaves it to the next.
#}
{# A unit test has no `this`: it runs the query of a full build. #}
{% macro is_increment() -%}
    {%- if this and is_incremental() -%} true {%- endif -%}
{%- endmacro %}

{% macro touched_records(feeds) -%}
    select record_key from ops.touched_record where feed in ('{{ ([feeds] if feeds is string else feeds) | join("', '") }}')
{%- endmacro %}

{# With the feed of each. #}
{% macro touched_keys() -%}
    select
        touched.feed,
        touched.record_key
    from ops.touched_record as touched
{%- endmacro %}

{# A rating whose dossier changed may belong to another unit now. #}
{% macro touched_ratings() -%}
    {{ touched_records('rating') }}
    union
    select rating_id from core.core_rating where dossier_code = any(array({{ touched_records('dossier') }}))
{%- endmacro %}

{# Cells are units and days; '' and -infinity stand for none. #}
{% macro touched_cells(kinds) -%}
    select distinct
        unit_code,
        day
    from ops.touched_cell
    where kind in ('{{ ([kinds] if kinds is string else kinds) | join("', '") }}')
{%- endmacro %}

{% macro touched_days(kinds) -%}
    select distinct day
    from ops.touched_cell
    where kind in ('{{ ([kinds] if kinds is string else kinds) | join("', '") }}')
{%- endmacro %}

{#
  Rows lie in the order of their days, and their index begins with the day: the days come first, as an array, which each branch
  of a view takes to its index; which units of those days is asked of what was found there. "Is true" keeps that from becoming a
  join: how many cells were touched is known to no statistics, and a loop over them would look at each for every row.
#}
{% macro in_touched_cells(unit, day, kinds) -%}
    {{ day }} = any(array({{ touched_days(kinds) }}))
    and (({{ unit }}, {{ day }}) in ({{ touched_cells(kinds) }})) is true
{%- endmacro %}

{# Days on which a rating changed, or the dossier of one. #}
{% macro touched_rating_days() -%}
    select day from ops.touched_cell where kind = 'rating'
    union
    select rated_on from core.core_rating where dossier_code = any(array({{ touched_records('dossier') }}))
{%- endmacro %}

{# The periods with a row of theirs, or a cell of these kinds, that changed. #}
{% macro touched_periods(kinds) -%}
    select period_code from ops.touched_period
    union
    select periods.period_code
    from core.dim_period as periods
    inner join
        (select distinct day from ops.touched_cell where kind in ('{{ kinds | join("', '") }}')) as touched
        on periods.period_start <= touched.day and periods.period_end > touched.day
{%- endmacro %}

{#
  The stretches with a cell of these kinds that changed, and those that the table does not hold with these borders. It is named:
  `this` is not yet known where a scope is read.
#}
{% macro touched_stretches(table, kinds) -%}
    select stretches.stretch_start
    from core.core_window_stretch as stretches
    inner join ({{ touched_days(kinds) }}) as touched
        on stretches.stretch_start <= touched.day and stretches.stretch_end > touched.day
    union
    select moved.stretch_start
    from (
        select stretch_start, stretch_end from core.core_window_stretch
        except
        select stretch_start, stretch_end from {{ table }}
    ) as moved
{%- endmacro %}

{% macro in_touched_stretches(table, kinds) -%}
    (
        held.stretch_start in ({{ touched_stretches(table, kinds) }})
        or (held.stretch_start, held.stretch_end) not in (
            select stretch_start, stretch_end from core.core_window_stretch
        )
    )
{%- endmacro %}

{#
  So many days each build, in turn, and after the last the first again: what a night costs does not grow with the history. The
  days with sums, and the day after each, which may have lost all of them. States beside the real one are not counted. Tables
  are named: a scope is read before refs are known.
#}
{% macro days_in_turn() -%}
    select day
    from (
        select
            day,
            row_number() over (order by day) - 1 as place,
            count(*) over () as days
        from (
            select event_on as day from facts.fct_unit_day
            union
            select event_on from facts.fct_unit_day_flow
            union
            select event_on + 1 from facts.fct_unit_day_flow where event_on > '-infinity'
        ) as days_with_sums
    ) as placed
    where mod(
        place + days - mod(
            {{ var('drift_days') }} * (select count(*) from ops.build where schema_prefix = ''), days
        ), days
    ) < {{ var('drift_days') }}
{%- endmacro %}

{# What is open at the end of a period depends on everything before it. #}
{% macro touched_flow_periods() -%}
    {{ touched_periods(['result', 'rating']) }}
    union
    select period_code from core.dim_period
    where period_end > (select min(day) from ops.touched_cell where kind = 'flow' and day > '-infinity')
{%- endmacro %}

{# The rows of a relation, in an incremental build those in touched cells, those without a day among them. #}
{% macro of_touched_cells(relation, unit, day, kinds) -%}
    {%- if is_increment() -%}
    {%- set unit = "coalesce(found." ~ unit ~ ", '')" %}
    select found.*
    from {{ relation }} as found
    where {{ in_touched_cells(unit, 'found.' ~ day, kinds) }}
    union all
    select found.*
    from {{ relation }} as found
    where
        -- Answered once: where no such cell was touched, none of these rows is read.
        exists (select 1 from ({{ touched_cells(kinds) }}) as touched where day = '-infinity')
        and found.{{ day }} is null
        and {{ unit }} in (select unit_code from ({{ touched_cells(kinds) }}) as touched where day = '-infinity')
    {%- else -%}
    select * from {{ relation }}
    {%- endif -%}
{%- endmacro %}

{# Hook of a table that cells are summed from, or that is one: `cells` are kind, column of the unit, column of the day. #}
{% macro note_cells(cells) -%}
    {{ _note('cells', cells) }}
{%- endmacro %}

{#
  Hook of a table at the grain of periods. `but` names columns that say how far was read: no index hangs on them, and they change
  every night in every period.
#}
{% macro note_periods(but=[]) -%}
    {%- if not is_increment() %}
    {{ _note('periods', [['period_code']], [('insert', 'new'), ('delete', 'old')]) }}
    create or replace trigger note_changed_periods after update on {{ this }}
    referencing old table as was new table as changed for each statement
    execute function ops.note_changed_periods('{{ (['period_code'] + but) | join("', '") }}');
    {%- endif %}
{%- endmacro %}

{% macro _note(what, arguments, events=[('insert', 'new'), ('update', 'old'), ('update', 'new'), ('delete', 'old')]) -%}
    {%- if not is_increment() %}
    {%- for event, rows in events %}
    create or replace trigger note_{{ what }}_{{ event }}_{{ rows }} after {{ event }} on {{ this }}
    referencing {{ rows }} table as changed for each statement
    execute function ops.note_{{ what }}({% for argument in arguments %}'{{ argument | join("', '") }}'{{ ', ' if not loop.last }}{% endfor %});
    {%- endfor %}
    {%- endif %}
{%- endmacro %}
