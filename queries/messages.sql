-- Adds a message to a session, with its audit row. The id is 0 when nothing was added: the session does not exist
-- (session_found tells), or the parent is not in it.
-- name: MessageAdd :one
WITH session AS (
    SELECT s.id FROM sessions s WHERE s.id = @session_id
), message AS (
    INSERT INTO messages (session_id, sender, sender_type, content, visibility, message_type, metadata, timestamp, parent_message_id)
    SELECT session.id, @sender, @sender_type::text, @content, @visibility::text, @message_type::text,
           sqlc.narg('metadata')::jsonb, coalesce(sqlc.narg('timestamp')::timestamptz, now()), sqlc.narg('parent_message_id')::bigint
    FROM session
    WHERE sqlc.narg('parent_message_id')::bigint IS NULL
       OR EXISTS (SELECT FROM messages p WHERE p.id = sqlc.narg('parent_message_id')::bigint AND p.session_id = session.id)
    RETURNING id, session_id, sender, visibility, timestamp
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
    SELECT 'message_added', sender, session_id, jsonb_build_object('message_id', id, 'visibility', visibility)
    FROM message
)
SELECT coalesce((SELECT id FROM message), 0)::bigint AS id,
       coalesce((SELECT timestamp FROM message), 'epoch')::timestamptz AS timestamp,
       EXISTS (SELECT FROM session) AS session_found;

-- Adds several messages to one session, all or none, in the order given, with an audit row each. A parent of 0,
-- an empty metadata and the timestamp 0001-01-01 stand for none. Each row tells the id of one message in that order; a single row with id 0 says that
-- nothing was added: the session does not exist (session_found tells), or a parent is not in it.
-- name: MessageAddMany :many
WITH session AS (
    SELECT s.id FROM sessions s WHERE s.id = @session_id
), input AS (
    SELECT generate_subscripts(@contents::text[], 1) AS position,
           unnest(@senders::text[]) AS sender,
           unnest(@sender_types::text[]) AS sender_type,
           unnest(@contents::text[]) AS content,
           unnest(@visibilities::text[]) AS visibility,
           unnest(@message_types::text[]) AS message_type,
           unnest(@metadata::text[]) AS metadata,
           unnest(@timestamps::timestamptz[]) AS timestamp,
           unnest(@parent_message_ids::bigint[]) AS parent_message_id
), message AS (
    INSERT INTO messages (session_id, sender, sender_type, content, visibility, message_type, metadata, timestamp, parent_message_id)
    SELECT session.id, input.sender, input.sender_type, input.content, input.visibility, input.message_type,
           nullif(input.metadata, '')::jsonb, coalesce(nullif(input.timestamp, '0001-01-01 00:00:00+00'), now()), nullif(input.parent_message_id, 0)
    FROM session, input
    WHERE NOT EXISTS (
        SELECT FROM input child
        WHERE child.parent_message_id <> 0
          AND NOT EXISTS (SELECT FROM messages p WHERE p.id = child.parent_message_id AND p.session_id = @session_id)
    )
    ORDER BY input.position
    RETURNING id, session_id, sender, visibility, timestamp
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
    SELECT 'message_added', sender, session_id, jsonb_build_object('message_id', id, 'visibility', visibility)
    FROM message
    ORDER BY id
)
SELECT coalesce(message.id, 0)::bigint AS id,
       coalesce(message.timestamp, 'epoch')::timestamptz AS timestamp,
       EXISTS (SELECT FROM session) AS session_found
FROM (SELECT) AS always
LEFT JOIN message ON true
ORDER BY message.id;

-- A page of a session's visible messages by offset, oldest first, with the number of all of them. A session without one
-- on this page gives a single row with id 0; no session gives no row.
-- name: MessagePage :many
SELECT total.count AS total_count,
       coalesce(m.id, 0)::bigint AS id,
       coalesce(m.sender, '')::text AS sender,
       coalesce(m.sender_type, '')::text AS sender_type,
       coalesce(m.content, '')::text AS content,
       coalesce(m.visibility, '')::text AS visibility,
       coalesce(m.message_type, '')::text AS message_type,
       m.metadata,
       coalesce(m.timestamp, 'epoch')::timestamptz AS timestamp,
       m.parent_message_id
FROM sessions s
CROSS JOIN LATERAL (
    SELECT count(*)
    FROM messages m
    WHERE m.session_id = s.id
      AND (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
) total
LEFT JOIN LATERAL (
    SELECT *
    FROM messages m
    WHERE m.session_id = s.id
      AND (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
    ORDER BY m.timestamp, m.id
    LIMIT @max_rows OFFSET @skip_rows
) m ON true
WHERE s.id = @session_id
ORDER BY m.timestamp, m.id;

-- A page of a session's visible messages from a key on, oldest first. A session without one on this page gives a single
-- row with id 0; no session gives no row.
-- name: MessagePageAfter :many
SELECT coalesce(m.id, 0)::bigint AS id,
       coalesce(m.sender, '')::text AS sender,
       coalesce(m.sender_type, '')::text AS sender_type,
       coalesce(m.content, '')::text AS content,
       coalesce(m.visibility, '')::text AS visibility,
       coalesce(m.message_type, '')::text AS message_type,
       m.metadata,
       coalesce(m.timestamp, 'epoch')::timestamptz AS timestamp,
       m.parent_message_id
FROM sessions s
LEFT JOIN LATERAL (
    SELECT *
    FROM messages m
    WHERE m.session_id = s.id
      AND (m.timestamp, m.id) > (@after_timestamp::timestamptz, @after_id::bigint)
      AND (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
    ORDER BY m.timestamp, m.id
    LIMIT @max_rows
) m ON true
WHERE s.id = @session_id
ORDER BY m.timestamp, m.id;
