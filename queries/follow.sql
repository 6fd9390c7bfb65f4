-- Where followers of a session start: the moment, as what had ended then, whether the session is there, and the highest
-- transaction of which it shows a row, 0 where there is none. A standby cannot tell which transactions are running.
-- name: FollowStart :one
SELECT pg_current_snapshot()::text AS now,
       pg_is_in_recovery() AS standby,
       EXISTS (SELECT FROM sessions s WHERE s.id = @session_id) AS session_found,
       coalesce((
           SELECT m.transaction_id FROM messages m WHERE m.session_id = @session_id ORDER BY m.transaction_id DESC, m.id DESC LIMIT 1
       ), '0')::text AS newest;

-- Where followers of an agent's memory in one scope start, global memory where the session is empty, otherwise as FollowStart.
-- name: MemoryFollowStart :one
SELECT pg_current_snapshot()::text AS now,
       pg_is_in_recovery() AS standby,
       (@session_id::text = '' OR EXISTS (SELECT FROM sessions s WHERE s.id = @session_id::text))::boolean AS session_found,
       coalesce((
           SELECT m.transaction_id FROM agent_memory m
           WHERE m.agent_id = @agent_id AND m.session_id IS NOT DISTINCT FROM nullif(@session_id::text, '')
           ORDER BY m.transaction_id DESC LIMIT 1
       ), '0')::text AS newest;

-- What is new in each of several sessions, as far as the reader may see it, in the order of transactions and ids: what the
-- moment "behind" did not show and the moment "until" did, now where that is empty, after one transaction and id. What a
-- moment did not show is what transactions wrote that were to come (from xmax on) or were running (xip): two short parts
-- of an index. At most 50 sessions are looked at: of more, the planner would expect so much work that the server compiled
-- the statement each time. Each session gives at least one row; one without news, or that does not exist, gives id 0.
-- name: MessageFollow :many
SELECT topic.place::integer AS place,
       topic.now::text AS now,
       pg_is_in_recovery() AS standby,
       (s.id IS NOT NULL)::boolean AS session_found,
       coalesce(m.transaction_id::text, '')::text AS transaction_id,
       coalesce(m.id, 0)::bigint AS id,
       coalesce(m.sender, '')::text AS sender,
       coalesce(m.sender_type, '')::text AS sender_type,
       coalesce(m.content, '')::text AS content,
       coalesce(m.visibility, '')::text AS visibility,
       coalesce(m.message_type, '')::text AS message_type,
       m.metadata,
       coalesce(m.timestamp, 'epoch')::timestamptz AS timestamp,
       m.parent_message_id
FROM (
    SELECT place, session_id, behind::pg_snapshot AS behind, coalesce(nullif(until, '')::pg_snapshot, pg_current_snapshot()) AS until,
           after_transaction::xid8 AS after_transaction, after_id, pg_current_snapshot() AS now
    FROM (
        SELECT generate_subscripts(@session_ids::text[], 1) AS place,
               unnest(@session_ids::text[]) AS session_id,
               unnest(@behind::text[]) AS behind,
               unnest(@until::text[]) AS until,
               unnest(@after_transactions::text[]) AS after_transaction,
               unnest(@after_ids::bigint[]) AS after_id
    ) AS input
    LIMIT 50
) AS topic
LEFT JOIN sessions s ON s.id = topic.session_id
LEFT JOIN LATERAL (
    SELECT * FROM (
        (
            SELECT *
            FROM messages m
            WHERE m.session_id = s.id
              AND m.transaction_id >= pg_snapshot_xmax(topic.behind)
              AND m.transaction_id < pg_snapshot_xmax(topic.until)
              AND (m.transaction_id, m.id) > (topic.after_transaction, topic.after_id)
              AND pg_visible_in_snapshot(m.transaction_id, topic.until)
              AND (m.visibility = ANY (@seen::text[])
                OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
                OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
            ORDER BY m.transaction_id, m.id
            LIMIT @max_rows
        )
        UNION ALL
        (
            SELECT m.*
            FROM pg_snapshot_xip(topic.behind) AS running (transaction_id)
            CROSS JOIN LATERAL (
                SELECT *
                FROM messages m
                WHERE m.session_id = s.id
                  AND m.transaction_id = running.transaction_id
                  AND (m.transaction_id, m.id) > (topic.after_transaction, topic.after_id)
                  AND pg_visible_in_snapshot(m.transaction_id, topic.until)
                  AND (m.visibility = ANY (@seen::text[])
                    OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
                    OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
                ORDER BY m.id
                LIMIT @max_rows
            ) m
            ORDER BY m.transaction_id, m.id
            LIMIT @max_rows
        )
    ) AS found
    ORDER BY found.transaction_id, found.id
    LIMIT @max_rows
) m ON true
ORDER BY topic.place, m.transaction_id, m.id;

-- What is new in each of at most 50 parts of agents' memory, the global one where the session is empty: entries that were set
-- and are live, otherwise as MessageFollow. Few enough entries are in each part that all are looked at.
-- name: MemoryFollow :many
SELECT topic.place::integer AS place,
       topic.now::text AS now,
       pg_is_in_recovery() AS standby,
       (topic.session_id = '' OR EXISTS (SELECT FROM sessions s WHERE s.id = topic.session_id))::boolean AS session_found,
       coalesce(m.transaction_id::text, '')::text AS transaction_id,
       coalesce(m.id, 0)::bigint AS id,
       coalesce(m.key, '')::text AS key,
       coalesce(m.value, '')::text AS value,
       m.metadata,
       coalesce(m.created_at, 'epoch')::timestamptz AS created_at,
       coalesce(m.updated_at, 'epoch')::timestamptz AS updated_at,
       m.expires_at
FROM (
    SELECT place, agent_id, session_id, behind::pg_snapshot AS behind, coalesce(nullif(until, '')::pg_snapshot, pg_current_snapshot()) AS until,
           after_transaction::xid8 AS after_transaction, after_id, pg_current_snapshot() AS now
    FROM (
        SELECT generate_subscripts(@agent_ids::text[], 1) AS place,
               unnest(@agent_ids::text[]) AS agent_id,
               unnest(@session_ids::text[]) AS session_id,
               unnest(@behind::text[]) AS behind,
               unnest(@until::text[]) AS until,
               unnest(@after_transactions::text[]) AS after_transaction,
               unnest(@after_ids::bigint[]) AS after_id
    ) AS input
    LIMIT 50
) AS topic
LEFT JOIN LATERAL (
    SELECT *
    FROM agent_memory m
    WHERE m.agent_id = topic.agent_id
      AND m.session_id IS NOT DISTINCT FROM nullif(topic.session_id, '')
      AND NOT pg_visible_in_snapshot(m.transaction_id, topic.behind)
      AND pg_visible_in_snapshot(m.transaction_id, topic.until)
      AND (m.transaction_id, m.id) > (topic.after_transaction, topic.after_id)
      AND (m.expires_at IS NULL OR m.expires_at > statement_timestamp())
    ORDER BY m.transaction_id, m.id
    LIMIT @max_rows
) m ON true
ORDER BY topic.place, m.transaction_id, m.id;

-- Tells the followers in all processes which topics have news, each as a number.
-- name: FollowNotify :exec
SELECT pg_notify('sharedcontext', topic) FROM unnest(@topics::text[]) AS topic;
