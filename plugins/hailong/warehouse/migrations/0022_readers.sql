-- Readers outside the road (ADR 21): BI tools of the City Office, and units, each of which sees its own rows.
-- What they do not see: raw, dossiers, ledger, quality, officials, candidates, and of few ratings (Article 3.4) a unit what the public does not see.
do $$
declare
    role_name text;
begin
    foreach role_name in array array['hailong_bi_reader', 'hailong_unit_reader'] loop
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

-- What was kept of unreadable records is for those who read raw as well.
revoke select on ops.quarantine from hailong_publisher, hailong_reader;

-- Tables that were made before there were default rights for the loader (migration 6) have none until a full build.
set local role hailong_transformer;
grant select on all tables in schema marts to hailong_loader;
reset role;

set local role hailong_owner;

-- -- logins of units ---------------------------------------------------------------------------------------------------

create table publish.unit_login (
    entry_id bigint generated always as identity primary key,
    login text not null check (login <> ''),
    unit_code text not null check (unit_code <> ''),
    is_granted boolean not null,
    by text not null check (by <> ''),
    at timestamptz not null default clock_timestamp()
);
comment on table publish.unit_login is 'Which login may read which unit: the newest entry of a login and unit holds. `hailong roles` writes it.';
comment on column publish.unit_login.is_granted is 'False: taken away again.';
comment on column publish.unit_login.by is 'The person who decided it.';
create index unit_login_login on publish.unit_login (login, unit_code, entry_id);
create trigger unit_login_append_only before update or delete on publish.unit_login
for each row execute function ops.refuse_change();
create trigger unit_login_no_truncate before truncate on publish.unit_login
for each statement execute function ops.refuse_change();
alter table publish.unit_login enable always trigger unit_login_append_only;
alter table publish.unit_login enable always trigger unit_login_no_truncate;

create view publish.own_unit with (security_invoker = true) as
select newest.unit_code
from (
    select distinct on (unit_code) unit_code, is_granted from publish.unit_login
    where login = current_user
    order by unit_code, entry_id desc
) as newest
where newest.is_granted;
comment on view publish.own_unit is 'Units of the login that asks.';

-- -- rows ---------------------------------------------------------------------------------------------------------------
-- Nobody's rows are hidden from the owner, whose triggers, keys and views of `open` work as before. A role that is given a
-- table here and stands in none of its policies sees no row of it.
alter table publish.unit_login enable row level security;
alter table publish.k_score enable row level security;
alter table publish.index_score enable row level security;
alter table publish.annex enable row level security;
alter table publish.candidate_difference enable row level security;

create policy stations on publish.unit_login for select to hailong_reader using (true);
create policy stations on publish.k_score
to hailong_gate, hailong_publisher, hailong_reader, hailong_bi_reader using (true) with check (true);
create policy stations on publish.index_score
to hailong_gate, hailong_publisher, hailong_reader, hailong_bi_reader using (true) with check (true);
create policy stations on publish.annex
to hailong_gate, hailong_publisher, hailong_reader using (true) with check (true);
create policy stations on publish.candidate_difference
to hailong_gate, hailong_publisher, hailong_reader using (true) with check (true);

-- A dashboard counts: annexes that name single records are in the paper of the City Office only. And it shows what was said, not
-- what was refused, nor what tonight would say of a period (`later_…`).
create policy dashboards on publish.annex for select to hailong_bi_reader
using (
    annex in (
        'dossier_flow', 'dossier_flow_before', 'received_by_channel', 'petition_count', 'petition_term', 'explanation_owed',
        'k_sensitivity', 'late_data', 'reconciliation', 'follow_up', 'action', 'evaluation', 'evaluation_criterion', 'rollup',
        'trend', 'unit_note', 'portal_group', 'reform_index_handover', 'sub_unit'
    )
);
create policy dashboards on publish.candidate_difference for select to hailong_bi_reader
using (exists (select 1 from publish.edition as e where e.candidate_id = candidate_difference.candidate_id));

create policy own_login on publish.unit_login for select to hailong_unit_reader using (login = current_user);
create policy own_unit on publish.k_score for select to hailong_unit_reader
using (unit_code in (select o.unit_code from publish.own_unit as o));
-- A unit reads of its C what the public reads: were a month's C shown to it, two months less the public quarter would tell it
-- the third, however few ratings that has.
create policy own_unit on publish.index_score for select to hailong_unit_reader
using (index_code <> 'C' and unit_code in (select o.unit_code from publish.own_unit as o));

-- -- what a unit reads -------------------------------------------------------------------------------------------------

create view publish.unit_index_score with (security_invoker = true) as
select
    i.edition_id, i.period_code, i.unit_code, i.index_code, i.numerator, i.denominator, i.excluded, i.value, i.status,
    i.status_reason
from publish.index_score as i
where i.index_code <> 'C' and i.unit_code in (select o.unit_code from publish.own_unit as o)
union all
select
    k.edition_id, k.period_code, k.unit_code, 'C' as index_code, c.numerator, c.denominator, c.excluded, c.value,
    coalesce(c.status, 'suppressed') as status, c.status_reason
from publish.k_score as k
left join open.index_score as c on k.edition_id = c.edition_id and k.unit_code = c.unit_code and c.index_code = 'C'
where k.unit_code in (select o.unit_code from publish.own_unit as o);
comment on view publish.unit_index_score is
'The unit''s own indices in every edition. C: as the public is shown it, so not of a month.';

create view publish.unit_k_score with (security_invoker = true) as
select
    k.edition_id, k.period_code, k.unit_code, k.unit_name, k.unit_kind, k.peer_group, k.peer_group_name, k.a, k.b, o.c, k.d, k.e,
    o.k, o.verdict, o.verdict_bound, coalesce(o.status, 'suppressed') as status, o.rank_among_shown, k.window_start, k.window_end,
    k.window_clipped, o.verdict_stability, o.k_min, o.k_max, o.small_sample, o.near_threshold, k.no_petitions,
    not exists (select 1 from publish.edition as newer where newer.supersedes = k.edition_id) as is_newest
from publish.k_score as k
left join open.k_score as o on k.edition_id = o.edition_id and k.unit_code = o.unit_code
where k.unit_code in (select u.unit_code from publish.own_unit as u);
comment on view publish.unit_k_score is
'The unit''s own row in every edition. C, K and all that follows from them: as the public is shown it, so not of a month.';
comment on column publish.unit_k_score.is_newest is 'No later edition of the period takes its place.';

-- -- rights ----------------------------------------------------------------------------------------------------------------

grant usage on schema publish, open to hailong_bi_reader, hailong_unit_reader;
grant select on all tables in schema open to hailong_bi_reader, hailong_unit_reader;
alter default privileges in schema open grant select on tables to hailong_bi_reader, hailong_unit_reader;

grant select on
    publish.edition, publish.edition_parameter, publish.k_score, publish.index_score, publish.k_score_latest,
    publish.index_score_latest, publish.annex, publish.candidate_difference, publish.edition_diff
to hailong_bi_reader;

grant select on publish.unit_login to hailong_reader, hailong_unit_reader;
grant select on publish.own_unit, publish.unit_index_score, publish.unit_k_score, publish.index_score, publish.edition_parameter
to hailong_unit_reader;
-- Not the checksum: it covers the small cells of all, and who tries their few values would see which one it is.
grant select (
    edition_id, period_code, calendar_code, period_start, period_end, edition_no, supersedes, policy_id, legal_basis, metric_version,
    published_at
) on publish.edition to hailong_unit_reader;
-- Nothing that C goes into.
grant select (
    edition_id, period_code, unit_code, unit_name, unit_kind, peer_group, peer_group_name, a, b, d, e, window_start, window_end,
    window_clipped, no_petitions
) on publish.k_score to hailong_unit_reader;

reset role;
