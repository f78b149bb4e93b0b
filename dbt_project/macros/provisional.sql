{#
  The views of schema `provisional` are of whatever the marts hold tonight: they say so in every row, with the newest build, which
  may be running or may have failed half-way. They stand on tables alone: a view below them is made anew each night, and what hangs
  on the old one would go with it (hailong_reader reads them meanwhile).
#}
{% macro newest_build() -%}
    select
        build_id,
        as_of_batch,
        status,
        finished_at
    from {{ source('ops', 'build') }}
    where schema_prefix = '{{ var("schema_prefix") }}'
    order by build_id desc
    limit 1
{%- endmacro %}

{% macro stamped(build) -%}
    {{ build }}.build_id::bigint as build_id,
    {{ build }}.as_of_batch::bigint as as_of_batch,
    {{ build }}.finished_at::timestamptz as built_at,
    {{ build }}.status::text as build_status,
    'Tạm tính, chưa công bố · Provisional, not published'::text as stamp
{%- endmacro %}

{# Asked with the rights of the login that reads. #}
{% macro own_units() -%}
    select unit_code from {{ source('publish', 'own_unit') }}
{%- endmacro %}

{# Of a view that shows a login its own units: no function that the login brings meets another row before that is decided. #}
{% macro of_own_units() -%}
    alter view {{ this }} set (security_barrier = true);
    grant select on {{ this }} to hailong_unit_reader
{%- endmacro %}

{#
  Periods and units whose C, with all that reveals it, is kept from the unit itself (Article 3.4); a unit without ratings has none
  to keep. Kept is C
  - of a month: with two months and the quarter, which will be public, one would know the third, of however few;
  - until the cut-off has passed in the data: from night to night one would see each rating;
  - of a period of which a rating came after its cut-off: it would be the difference to what was shown before;
  - of few ratings, and of a year one of whose quarters has few.
  What is shown is what an edition counted at the cut-off would say.
#}
{% macro c_kept_from_units() -%}
    cells as (
        select
            indices.period_code,
            indices.unit_code,
            indices.window_start,
            indices.window_end,
            periods.period_kind,
            periods.calendar_code,
            periods.period_start,
            periods.period_end,
            periods.cutoff_at,
            indices.denominator < policies.c_min_ratings as is_few
        from {{ ref('mart_index_score') }} as indices
        inner join {{ ref('dim_period') }} as periods on indices.period_code = periods.period_code
        inner join {{ ref('dim_policy_parameter') }} as policies on indices.policy_id = policies.policy_id
        where indices.index_code = 'C' and indices.denominator > 0
    ),

    reached as (
        select {{ local_time("max(window_end) filter (where feed = 'rating')") }} as read_until
        from {{ ref('dim_batch') }}
    ),

    came_late as (
        select distinct
            cells.period_code,
            cells.unit_code
        from cells
        inner join {{ ref('mart_late_data') }} as loads
            on
                cells.unit_code = loads.unit_code
                and cells.window_start <= loads.event_on
                and cells.window_end > loads.event_on
                and cells.cutoff_at::date <= loads.loaded_on
        where loads.measure = 'rating'
    ),

    kept as (
        select
            cells.period_code,
            cells.unit_code
        from cells
        cross join reached
        left join came_late on cells.period_code = came_late.period_code and cells.unit_code = came_late.unit_code
        where
            cells.period_kind = 'month'
            or coalesce(reached.read_until < cells.cutoff_at, true)
            or came_late.unit_code is not null
            or exists (
                select 1
                from cells as parts
                where
                    parts.is_few
                    and parts.period_kind <> 'month'
                    and parts.unit_code = cells.unit_code
                    and parts.calendar_code = cells.calendar_code
                    and parts.period_start >= cells.period_start
                    and parts.period_end <= cells.period_end
            )
    )
{%- endmacro %}
