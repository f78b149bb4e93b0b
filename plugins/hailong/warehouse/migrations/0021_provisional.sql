-- What we think tonight, stamped as such (Article 16.3): views of dbt over the marts, for the City Office; two of them say only what
-- a unit may know of itself. Made with every build, so the rights are default ones: a view that is made anew has them at once.
create schema if not exists provisional authorization hailong_transformer;
revoke all on schema provisional from public;
comment on schema provisional is
'Tonight''s scores, not published. k_score, index_score: for the City Office. unit_k_score, unit_index_score: what a unit may see of itself.';

grant usage on schema provisional to hailong_reader;
alter default privileges for role hailong_transformer in schema provisional grant select on tables to hailong_reader;
