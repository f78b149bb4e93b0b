-- Schemas and the role of each station. Roles belong to the whole server, so each is created only when absent.
do $$
declare
    role_name text;
begin
    foreach role_name in array array[
        'hailong_owner', 'hailong_loader', 'hailong_transformer', 'hailong_gate', 'hailong_publisher', 'hailong_reader'
    ] loop
        begin
            execute format('create role %I nologin', role_name);
        exception when duplicate_object or unique_violation then
            null; -- another database of this server made it, maybe this very moment
        end;
        if not pg_has_role(current_user, role_name, 'member') then
            execute format('grant %I to current_user', role_name);
        end if;
    end loop;
end
$$;

create schema if not exists raw authorization hailong_loader;
create schema if not exists ops;
create schema if not exists dq authorization hailong_gate;
create schema if not exists publish authorization hailong_owner;
create schema if not exists rules authorization hailong_transformer;
create schema if not exists staging authorization hailong_transformer;
create schema if not exists core authorization hailong_transformer;
create schema if not exists facts authorization hailong_transformer;
create schema if not exists marts authorization hailong_transformer;

grant usage on schema raw, ops to hailong_owner, hailong_loader, hailong_transformer, hailong_gate, hailong_publisher, hailong_reader;
grant usage on schema rules, staging, core, facts, marts to hailong_gate, hailong_publisher, hailong_reader;
grant usage on schema dq to hailong_transformer, hailong_publisher, hailong_reader;
grant usage on schema publish to hailong_gate, hailong_publisher, hailong_reader;

alter default privileges for role hailong_loader in schema raw grant select on tables to hailong_transformer, hailong_gate;
alter default privileges for role hailong_transformer in schema rules grant select on tables to hailong_gate, hailong_publisher, hailong_reader;
alter default privileges for role hailong_transformer in schema core grant select on tables to hailong_gate, hailong_publisher, hailong_reader;
alter default privileges for role hailong_transformer in schema facts grant select on tables to hailong_gate, hailong_publisher, hailong_reader;
alter default privileges for role hailong_transformer in schema marts grant select on tables to hailong_gate, hailong_publisher, hailong_reader;
