-- What a batch's reading was worth: complete or not, what was odd about it, which windows of the portal it answers.
alter table ops.batch add column read_kind text not null default 'window'
check (read_kind in ('window', 'full', 'census', 'snapshot', 'file', 'replay'));
alter table ops.batch add column request text;
comment on column ops.batch.request is 'The back-fill that asked for this window; null for a nightly read.';
alter table ops.batch add column is_complete boolean not null default false;
comment on column ops.batch.is_complete is 'The whole scope was read to its end: a key that is missing here was missing in the source.';
comment on column ops.batch.tombstone_rows is 'Deletions found by absence. Rows of the batch in raw = loaded_rows + tombstone_rows.';

create table ops.batch_finding (
    batch_id bigint not null references ops.batch (batch_id),
    feed text not null,
    rule text not null,
    field text not null default '',
    records bigint not null check (records >= 0),
    detail text not null,
    primary key (batch_id, rule, field)
);
comment on table ops.batch_finding is 'What was odd about a batch without stopping it: new fields, clock skew, older copies. Never a value of a record.';

create table ops.snapshot (
    batch_id bigint not null references ops.batch (batch_id),
    feed text not null,
    prefix text not null,
    group_code text not null,
    window_from date not null,
    window_to date not null,
    retrieved_at timestamptz not null,
    rows bigint not null check (rows >= 0),
    primary key (batch_id, prefix)
);
comment on table ops.snapshot is 'Windows that were read whole: until when their answer is known to hold, also when it did not change. window_to is inclusive.';

create table ops.quarantine_release (
    quarantine_id bigint primary key,
    batch_id bigint references ops.batch (batch_id),
    outcome text not null check (outcome in ('loaded', 'superseded')),
    released_at timestamptz not null default clock_timestamp(),
    released_by text not null,
    check ((outcome = 'loaded') = (batch_id is not null))
);
comment on table ops.quarantine_release is 'Quarantined records that were read after all, or that a newer version has overtaken.';

create table ops.purge (
    purge_id bigint generated always as identity primary key,
    batch_id bigint not null unique references ops.batch (batch_id),
    feed text not null,
    raw_rows bigint not null,
    quarantine_rows bigint not null,
    landing_sha256 text not null,
    raw_sha256 text not null,
    purged_at timestamptz not null default clock_timestamp(),
    purged_by text not null
);
comment on table ops.purge is 'Batches whose records were dropped when their retention had passed: what was there, by count and checksum.';

create index quarantine_key on ops.quarantine (feed, record_key, batch_id);

grant select on ops.batch_finding, ops.snapshot, ops.quarantine_release, ops.purge
to hailong_loader, hailong_transformer, hailong_gate, hailong_publisher, hailong_reader;
grant insert on ops.batch_finding, ops.snapshot, ops.quarantine_release, ops.purge to hailong_loader;

do $$
declare
    t text;
begin
    foreach t in array array['batch_finding', 'snapshot', 'quarantine_release', 'purge'] loop
        execute format('create trigger %I before update or delete on ops.%I for each row execute function ops.refuse_change()', t || '_append_only', t);
        execute format('create trigger %I before truncate on ops.%I for each statement execute function ops.refuse_change()', t || '_no_truncate', t);
        execute format('alter table ops.%I enable always trigger %I', t, t || '_append_only');
        execute format('alter table ops.%I enable always trigger %I', t, t || '_no_truncate');
    end loop;
end
$$;

-- The state of a feed tells how late its records come, as the last build measured it.
grant usage on schema marts to hailong_loader;
alter default privileges for role hailong_transformer in schema marts grant select on tables to hailong_loader;

-- raw.<feed> is partitioned by ranges of 512 batches, made on demand: what is past its retention is dropped by partition.
-- Built apart and attached, so that a build that reads the feed meanwhile is not blocked.
set local role hailong_loader;

create function raw.ensure_partition(feed text, batch_id bigint) returns text language plpgsql as $$
declare
    width constant bigint := 512;
    number bigint := batch_id / width;
    part text := format('%s_p%s', feed, number);
begin
    if to_regclass(format('raw.%I', part)) is null then
        execute format(
            'create table raw.%I (like raw.%I including defaults including constraints including indexes including comments)',
            part, feed
        );
        execute format('alter table raw.%I attach partition raw.%I for values from (%s) to (%s)', feed, part, number * width, (number + 1) * width);
        execute format('create trigger %I before truncate on raw.%I for each statement execute function ops.refuse_change()', part || '_no_truncate', part);
        execute format('alter table raw.%I enable always trigger %I', part, part || '_no_truncate');
        execute format('alter table raw.%I enable always trigger %I', part, feed || '_append_only');
    end if;
    return part;
end
$$;

reset role;
