-- A foreign key reads every loaded row a second time to look up the one number that all rows of a load have in common. The number
-- comes from the ledger in the same transaction, the ledger keeps every batch for ever, the load compares the rows that went
-- in with its count, and the gate stops at rows of a batch that the ledger does not know (ADR 10).
set local role hailong_loader;

do $$
declare
    feed record;
begin
    for feed in
        select c.relname, k.conname from pg_class as c inner join pg_constraint as k on k.conrelid = c.oid
        where c.relnamespace = 'raw'::regnamespace and c.relkind = 'p' and k.contype = 'f'
        and k.confrelid = 'ops.batch'::regclass
    loop
        execute format('alter table raw.%I drop constraint %I', feed.relname, feed.conname);
    end loop;
end
$$;

reset role;
