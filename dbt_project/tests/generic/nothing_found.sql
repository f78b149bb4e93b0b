{# A list of what went wrong is empty. #}
{% test nothing_found(model) %}
select * from {{ model }}
{% endtest %}
