{# Every day between the first and the last stands there once: working days are counted over this table. #}
{% test dense_days(model) %}
select
    min(day) as first_day,
    max(day) as last_day,
    count(*) as days
from {{ model }}
having count(*) <> max(day) - min(day) + 1 or count(distinct day) <> count(*) or count(*) = 0
{% endtest %}
