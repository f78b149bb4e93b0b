-- A unit reads its own scores of tonight (Article 16.3): the views provisional.unit_k_score and unit_index_score of dbt show a
-- login the units that are its own, as publish.unit_k_score does of editions. The rights on them come with each build.
grant usage on schema provisional to hailong_unit_reader;
comment on schema provisional is
'Tonight''s scores, not published. k_score, index_score: for the City Office. unit_k_score, unit_index_score: a unit''s own row, as it may see it.';

-- Whose a unit is, is asked with the rights of the login that reads; dbt asks it too, of nobody's units, to see the columns.
grant usage on schema publish to hailong_transformer;
grant select on publish.own_unit, publish.unit_login to hailong_transformer;
create policy own_login_of_builds on publish.unit_login for select to hailong_transformer using (login = current_user);
