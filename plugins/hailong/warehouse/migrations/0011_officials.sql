-- Officials under pseudonyms (Articles 8.2, 16.4): still personal data, so a schema of their own that one role reads and no other.
do $$
begin
    begin
        create role hailong_official_reader nologin;
    exception when duplicate_object or unique_violation then
        null; -- another database of this server made it, maybe this very moment
    end;
    if not pg_has_role(current_user, 'hailong_official_reader', 'member') then
        grant hailong_official_reader to current_user;
    end if;
end
$$;

create schema if not exists officials authorization hailong_transformer;
revoke all on schema officials from public;
comment on schema officials is
'Scores of officials under pseudonyms, for hailong_official_reader only. Who they are, only their units know.';

grant usage on schema officials to hailong_official_reader;
alter default privileges for role hailong_transformer in schema officials
grant select on tables to hailong_official_reader;
