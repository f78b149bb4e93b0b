with lost as (
    select
        'dossier' as feed,
        record_key,
        batch_id,
        'deleted' as reason
    from by_hand_scratch.newest
    where op = 'delete'
    union all
    select
        'dossier_sync' as feed,
        record_key,
        batch_id,
        'deleted' as reason
    from by_hand_staging.stg_portal__dossier_sync_deletion
    union all
    select
        quarantined.feed,
        quarantined.record_key,
        quarantined.batch_id,
        'quarantined' as reason
    from by_hand_staging.stg_ops__quarantine as quarantined
    where
        case quarantined.feed
            when 'dossier'
                then not exists (
                    select from by_hand_core.core_dossier as held where quarantined.record_key = held.dossier_code
                )
            when 'dossier_sync'
                then not exists (
                    select from by_hand_core.core_dossier_sync as held where quarantined.record_key = held.dossier_code
                )
            else false
        end
)

-- Deleted, and later something unreadable came: what happened last.
select distinct on (feed, record_key)
    feed,
    record_key,
    reason,
    batch_id
from lost
order by feed, record_key, batch_id desc
