-- Who was told what, by role: one message per change of state, and a channel that failed is tried again without the other.
create table ops.notification (
    notification_id bigint generated always as identity primary key,
    topic text not null,
    state_sha256 text not null check (state_sha256 ~ '^[0-9a-f]{64}$'),
    channel text not null check (channel in ('mail', 'webhook')),
    roles text[] not null check (cardinality(roles) > 0),
    sent_at timestamptz not null default clock_timestamp(),
    outcome text not null check (outcome in ('sent', 'failed')),
    detail text,
    constraint notification_without_address check (position('@' in coalesce(detail, '') || topic) = 0)
);
comment on table ops.notification is 'One row per attempt to tell somebody. No person and no address: who a role is stands in the environment.';
comment on column ops.notification.topic is 'What the message is about, for example deadline/2026-10.';
comment on column ops.notification.state_sha256 is 'Of the state told and the roles of this attempt. The newest one sent is not sent again.';
comment on column ops.notification.roles is 'Mail: the one role of this attempt. Webhook: every role that the message is for.';
comment on column ops.notification.detail is 'Kind of failure or number of refused addresses; never what the other side wrote.';
create index notification_topic on ops.notification (topic, channel, notification_id);

grant select on ops.notification to hailong_gate, hailong_publisher, hailong_reader;
grant insert on ops.notification to hailong_publisher;
create trigger notification_append_only before update or delete on ops.notification
for each row execute function ops.refuse_change();
create trigger notification_no_truncate before truncate on ops.notification
for each statement execute function ops.refuse_change();
alter table ops.notification enable always trigger notification_append_only;
alter table ops.notification enable always trigger notification_no_truncate;
