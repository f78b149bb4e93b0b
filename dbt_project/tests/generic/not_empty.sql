{# Generic tests pass on an empty table; this one does not. #}
{% test not_empty(model) %}
select 1 as nothing_there
where not exists (select 1 from {{ model }})
{% endtest %}
