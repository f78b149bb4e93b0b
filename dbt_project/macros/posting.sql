{#
  Index E's judgement: CTEs `required` to `posted`, one row per window and place where the unit must post (and rule, told apart by
  its columns `also`). `rules` is a CTE of policies, or of readings of them. Wants CTEs `windows` and `checks`.
#}
{% macro posting(rules, also=[]) -%}
{%- set key = ['period_code', 'unit_code', 'place_code'] + also -%}
required as (
    select distinct
        windows.period_code,
        windows.unit_code,
        windows.policy_id,
        windows.window_start,
        windows.window_end - 1 as last_day,
        {{ rules }}.e_valid_days,
        {{ rules }}.e_basis,
        {{ rules }}.e_self_check,
        {%- for column in also %}
        {{ rules }}.{{ column }},
        {%- endfor %}
        trim(place.place_code) as place_code
    from windows
    inner join {{ rules }} on windows.policy_id = {{ rules }}.policy_id
    cross join lateral string_to_table(windows.posting_places, ';') as place (place_code)
    where trim(place.place_code) <> ''
),

-- The checks of the latest day on which the place was checked, not after the window and not too old at its end.
latest as (
    select
        required.period_code,
        required.unit_code,
        required.place_code,
        {%- for column in also %}
        required.{{ column }},
        {%- endfor %}
        checks.checked_on,
        checks.result_code,
        checks.checker_kind,
        required.last_day - checks.checked_on <= required.e_valid_days as is_valid,
        -- The text speaks of the end of the period; read as of the whole of it, one failure in it is enough.
        required.e_basis = 'any_failure' and checks.checked_on >= required.window_start as is_decisive,
        rank() over (
            partition by {% for column in key %}required.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
            order by checks.checked_on desc
        ) as recency
    from required
    inner join checks
        on
            required.unit_code = checks.unit_code
            and required.place_code = checks.place_code
            and required.last_day >= checks.checked_on
            and (
                required.window_start <= checks.checked_on
                or required.last_day - checks.checked_on <= required.e_valid_days
            )
    where required.e_self_check = 'accept' or checks.checker_kind is distinct from 'self'
),

results as (
    select
        {{ key | join(', ') }},
        max(checked_on) as checked_on,
        bool_and(result_code = 'pass') filter (where recency = 1) as is_passed,
        bool_or(result_code <> 'pass') filter (where is_decisive) as is_failed,
        string_agg(distinct checker_kind, ',' order by checker_kind) filter (where recency = 1) as checker_kinds
    from latest
    group by {{ key | join(', ') }}
    having bool_or(is_valid) or bool_or(is_decisive and result_code <> 'pass')
),

posted as (
    select
        required.*,
        results.checked_on,
        results.checked_on < required.window_start as is_carried_forward,
        case
            when results.is_failed or not results.is_passed then 'fail'
            when results.is_passed then 'pass'
        end as result,
        results.checker_kinds
    from required
    left join results
        on {% for column in key %}required.{{ column }} = results.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
)
{%- endmacro %}
