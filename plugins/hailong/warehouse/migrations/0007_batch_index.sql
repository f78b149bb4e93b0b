-- Rows of raw come in the order of their batches: summaries of page ranges find a batch, and cost a load next to nothing.
set local role hailong_loader;

do $$
declare
    feed text;
begin
    for feed in
        select c.relname from pg_class as c
        where c.relnamespace = 'raw'::regnamespace and c.relkind = 'p'
        and to_regclass(format('raw.%I', c.relname || '_batch')) is not null
    loop
        execute format('drop index raw.%I', feed || '_batch');
        execute format('create index %I on raw.%I using brin (batch_id) with (autosummarize = on)', feed || '_batch', feed);
    end loop;
end
$$;

reset role;
