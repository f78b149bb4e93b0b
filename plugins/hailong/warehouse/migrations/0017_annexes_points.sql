-- What stands beside the scores in a report, and the points behind them: copied with the candidate, and never changed afterwards.
set local role hailong_owner;

create table publish.candidate_part (
    candidate_id text not null references publish.candidate (candidate_id),
    part text not null check (part in ('annexes', 'points.parquet')),
    row_count bigint not null,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    primary key (candidate_id, part)
);
comment on table publish.candidate_part is 'Checksums of what a candidate holds beside the scores. None: it is older than this table.';
comment on column publish.candidate_part.part is 'annexes: its rows in candidate_annex; points.parquet: the file in candidates/<candidate_id>/, then in the edition''s folder.';

create table publish.candidate_annex (
    candidate_id text not null references publish.candidate (candidate_id),
    annex text not null,
    row_no integer not null check (row_no >= 1),
    unit_code text,
    content jsonb not null,
    primary key (candidate_id, annex, row_no)
);
comment on table publish.candidate_annex is 'Rows of the marts of a period beside the scores: volumes, petitions, explanations owed, readings, watch-lists.';
comment on column publish.candidate_annex.annex is 'Name of the mart, without its prefix.';
comment on column publish.candidate_annex.unit_code is 'Null: of no unit.';
comment on column publish.candidate_annex.content is 'Column of the mart → value, as the mart documents it.';

create table publish.annex (
    edition_id text not null references publish.edition (edition_id),
    annex text not null,
    row_no integer not null check (row_no >= 1),
    unit_code text,
    content jsonb not null,
    primary key (edition_id, annex, row_no)
);
comment on table publish.annex is 'Rows of candidate_annex, as published. For the city office: watch-lists name dossiers, ratings may be few.';

grant select on publish.candidate_part, publish.candidate_annex, publish.annex to hailong_gate, hailong_publisher, hailong_reader;
grant insert on publish.candidate_part, publish.candidate_annex, publish.annex to hailong_publisher;
do $$
declare
    t text;
begin
    foreach t in array array['candidate_part', 'candidate_annex', 'annex'] loop
        execute format('create trigger %I before update or delete on publish.%I for each row execute function ops.refuse_change()', t || '_append_only', t);
        execute format('create trigger %I before truncate on publish.%I for each statement execute function ops.refuse_change()', t || '_no_truncate', t);
        execute format('alter table publish.%I enable always trigger %I', t, t || '_append_only');
        execute format('alter table publish.%I enable always trigger %I', t, t || '_no_truncate');
    end loop;
end $$;

reset role;
