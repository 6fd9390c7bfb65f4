-- Adds a message to a session, with its audit row. Its time is that of the statement, not of the transaction: an answer is
-- not before its question. The id is 0 when nothing was added: the session does not exist
-- (session_found tells), or the parent is not in it.
-- name: MessageAdd :one
WITH session AS (
    SELECT s.id FROM sessions s WHERE s.id = @session_id
), message AS (
    INSERT INTO messages (session_id, sender, sender_type, content, visibility, message_type, metadata, timestamp, parent_message_id)
    SELECT session.id, @sender, @sender_type::text, @content, @visibility::text, @message_type::text,
           sqlc.narg('metadata')::jsonb, coalesce(sqlc.narg('timestamp')::timestamptz, statement_timestamp()), sqlc.narg('parent_message_id')::bigint
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

-- Adds a message under a key, or finds the one that was added under it before, whose digest tells whether it is the
-- same message. Otherwise as MessageAdd.
-- name: MessageAddOnce :one
WITH session AS (
    SELECT s.id, nextval('messages_id_seq') AS message_id FROM sessions s WHERE s.id = @session_id
), claim AS (
    INSERT INTO message_keys (session_id, key, message_id, digest, timestamp)
    SELECT session.id, @key, session.message_id, decode(@digest::text, 'hex'), coalesce(sqlc.narg('timestamp')::timestamptz, statement_timestamp())
    FROM session
    WHERE sqlc.narg('parent_message_id')::bigint IS NULL
       OR EXISTS (SELECT FROM messages p WHERE p.id = sqlc.narg('parent_message_id')::bigint AND p.session_id = session.id)
    -- An update that changes nothing, because only that returns the row of another transaction.
    ON CONFLICT (session_id, key) DO UPDATE SET key = excluded.key
    RETURNING message_id, digest, timestamp
), message AS (
    INSERT INTO messages (id, session_id, sender, sender_type, content, visibility, message_type, metadata, timestamp, parent_message_id)
    SELECT claim.message_id, session.id, @sender, @sender_type::text, @content, @visibility::text, @message_type::text,
           sqlc.narg('metadata')::jsonb, claim.timestamp, sqlc.narg('parent_message_id')::bigint
    FROM session
    JOIN claim ON claim.message_id = session.message_id
    RETURNING id, session_id, sender, visibility
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
    SELECT 'message_added', sender, session_id, jsonb_build_object('message_id', id, 'visibility', visibility)
    FROM message
)
SELECT coalesce((SELECT message_id FROM claim), 0)::bigint AS id,
       coalesce((SELECT timestamp FROM claim), 'epoch')::timestamptz AS timestamp,
       coalesce((SELECT encode(digest, 'hex') FROM claim), '')::text AS digest,
       EXISTS (SELECT FROM session) AS session_found;

-- Adds several messages to one session, all or none, in the order given, with an audit row each. A parent of 0, an empty
-- metadata and the timestamp 0001-01-01 stand for none. Each row tells the id of one message in that order; a single row
-- with id 0 says that nothing was added: the session does not exist (session_found tells), or a parent is not in it.
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
           nullif(input.metadata, '')::jsonb, coalesce(nullif(input.timestamp, '0001-01-01 00:00:00+00'), statement_timestamp()), nullif(input.parent_message_id, 0)
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

-- Adds several messages as MessageAddMany does, those with a key as MessageAddOnce does; an empty key stands for none. The
-- caller rolls back where a digest shows that a key stands for another message.
-- name: MessageAddManyOnce :many
WITH session AS (
    SELECT s.id FROM sessions s WHERE s.id = @session_id
), input AS (
    SELECT generate_subscripts(@contents::text[], 1) AS position,
           nextval('messages_id_seq') AS id,
           unnest(@keys::text[]) AS key,
           unnest(@digests::text[]) AS digest,
           unnest(@senders::text[]) AS sender,
           unnest(@sender_types::text[]) AS sender_type,
           unnest(@contents::text[]) AS content,
           unnest(@visibilities::text[]) AS visibility,
           unnest(@message_types::text[]) AS message_type,
           unnest(@metadata::text[]) AS metadata,
           unnest(@timestamps::timestamptz[]) AS timestamp,
           unnest(@parent_message_ids::bigint[]) AS parent_message_id
), accepted AS (
    SELECT input.*, coalesce(nullif(input.timestamp, '0001-01-01 00:00:00+00'), statement_timestamp()) AS added_at
    FROM session, input
    WHERE NOT EXISTS (
        SELECT FROM input child
        WHERE child.parent_message_id <> 0
          AND NOT EXISTS (SELECT FROM messages p WHERE p.id = child.parent_message_id AND p.session_id = @session_id)
    )
), claim AS (
    INSERT INTO message_keys (session_id, key, message_id, digest, timestamp)
    SELECT @session_id, accepted.key, accepted.id, decode(accepted.digest, 'hex'), accepted.added_at
    FROM accepted
    WHERE accepted.key <> ''
    ORDER BY accepted.key -- in one order everywhere, so that two batches cannot wait for each other
    ON CONFLICT (session_id, key) DO UPDATE SET key = excluded.key
    RETURNING key, message_id, digest, timestamp
), message AS (
    INSERT INTO messages (id, session_id, sender, sender_type, content, visibility, message_type, metadata, timestamp, parent_message_id)
    SELECT accepted.id, @session_id, accepted.sender, accepted.sender_type, accepted.content, accepted.visibility,
           accepted.message_type, nullif(accepted.metadata, '')::jsonb, accepted.added_at, nullif(accepted.parent_message_id, 0)
    FROM accepted
    WHERE accepted.key = ''
       OR EXISTS (SELECT FROM claim WHERE claim.message_id = accepted.id)
    RETURNING id, session_id, sender, visibility
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
    SELECT 'message_added', sender, session_id, jsonb_build_object('message_id', id, 'visibility', visibility)
    FROM message
    ORDER BY id
)
SELECT coalesce(claim.message_id, accepted.id, 0)::bigint AS id,
       coalesce(claim.timestamp, accepted.added_at, 'epoch')::timestamptz AS timestamp,
       coalesce(encode(claim.digest, 'hex'), '')::text AS digest,
       EXISTS (SELECT FROM session) AS session_found
FROM (SELECT) AS always
LEFT JOIN accepted ON true
LEFT JOIN claim ON claim.key = accepted.key
ORDER BY accepted.position;

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
--
-- Here, in MessageListByTime and in SessionGet the page is merged from one page of candidates for each level that the
-- reader sees, of its own messages on the levels where these count, and of those of its kind; each is read from an index
-- in the order of the page. So at most a page of each is read, whatever else is in the session. The condition on
-- visibility then decides on each candidate. What differs between calls stands behind OFFSET 0, where the planner cannot
-- see it: the plan costs the same with and without the values, so that the connection soon plans no more.
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
CROSS JOIN (
    SELECT @seen::text[] AS seen, @own::text[] AS own, @kin::text[] AS kin, @reader::text AS reader, @reader_type::text AS reader_type,
           @after_timestamp::timestamptz AS after_timestamp, @after_id::bigint AS after_id, @max_rows::integer AS max_rows
    OFFSET 0
) AS input
LEFT JOIN LATERAL (
    SELECT DISTINCT ON (m.timestamp, m.id) m.*
    FROM (
        SELECT found.*
        FROM (VALUES ('public'), ('private'), ('agent_only'), ('admin_only')) AS level (name)
        CROSS JOIN LATERAL (
            SELECT * FROM messages candidate
            WHERE candidate.session_id = s.id AND candidate.visibility = level.name
              AND (candidate.timestamp, candidate.id) > (input.after_timestamp, input.after_id)
            ORDER BY candidate.timestamp, candidate.id LIMIT input.max_rows
        ) found
        WHERE level.name = ANY (input.seen)
        UNION ALL
        SELECT found.*
        FROM (VALUES ('public'), ('private'), ('agent_only'), ('admin_only')) AS level (name)
        CROSS JOIN LATERAL (
            SELECT * FROM messages candidate
            WHERE candidate.session_id = s.id AND candidate.visibility = level.name AND candidate.sender = input.reader
              AND (candidate.timestamp, candidate.id) > (input.after_timestamp, input.after_id)
            ORDER BY candidate.timestamp, candidate.id LIMIT input.max_rows
        ) found
        WHERE level.name = ANY (input.own)
        UNION ALL
        SELECT found.*
        FROM (
            SELECT * FROM messages candidate
            WHERE candidate.session_id = s.id AND candidate.visibility = 'agent_only' AND candidate.sender_type = input.reader_type
              AND (candidate.timestamp, candidate.id) > (input.after_timestamp, input.after_id)
            ORDER BY candidate.timestamp, candidate.id LIMIT input.max_rows
        ) found
        WHERE 'agent_only' = ANY (input.kin)
    ) m
    WHERE (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
    ORDER BY m.timestamp, m.id
    LIMIT input.max_rows
) m ON true
WHERE s.id = @session_id
ORDER BY m.timestamp, m.id;

-- A page of what one agent has sent to a session, as far as the reader may see it, newest first, from a key on. A
-- session without any gives a single row with id 0; no session gives no row.
-- name: MessageListBySender :many
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
CROSS JOIN (
    SELECT @seen::text[] AS seen, @own::text[] AS own, @kin::text[] AS kin, @reader::text AS reader, @sender::text AS sender,
           @before_timestamp::timestamptz AS before_timestamp, @before_id::bigint AS before_id, @max_rows::integer AS max_rows
    OFFSET 0
) AS input
LEFT JOIN LATERAL (
    SELECT found.*
    FROM (VALUES ('public'), ('private'), ('agent_only'), ('admin_only')) AS level (name)
    CROSS JOIN LATERAL (
        SELECT *
        FROM messages m
        WHERE m.session_id = s.id AND m.sender = input.sender AND m.visibility = level.name
          AND (m.timestamp, m.id) < (input.before_timestamp, input.before_id)
          AND (m.visibility = ANY (@seen::text[])
            OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
            OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
        ORDER BY m.timestamp DESC, m.id DESC
        LIMIT input.max_rows
    ) found
    WHERE level.name = ANY (input.seen)
       OR (level.name = ANY (input.own) AND input.sender = input.reader)
       OR level.name = ANY (input.kin)
    ORDER BY found.timestamp DESC, found.id DESC
    LIMIT input.max_rows
) m ON true
WHERE s.id = @session_id
ORDER BY m.timestamp DESC, m.id DESC;

-- A page of a session's visible messages from one time on and before another, oldest first, from a key on. A session
-- without any gives a single row with id 0; no session gives no row.
-- name: MessageListByTime :many
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
CROSS JOIN (
    SELECT @seen::text[] AS seen, @own::text[] AS own, @kin::text[] AS kin, @reader::text AS reader, @reader_type::text AS reader_type,
           @from_time::timestamptz AS from_time, @until_time::timestamptz AS until_time,
           @after_timestamp::timestamptz AS after_timestamp, @after_id::bigint AS after_id, @max_rows::integer AS max_rows
    OFFSET 0
) AS input
LEFT JOIN LATERAL (
    SELECT DISTINCT ON (m.timestamp, m.id) m.*
    FROM (
        SELECT found.*
        FROM (VALUES ('public'), ('private'), ('agent_only'), ('admin_only')) AS level (name)
        CROSS JOIN LATERAL (
            SELECT * FROM messages candidate
            WHERE candidate.session_id = s.id AND candidate.visibility = level.name
              AND candidate.timestamp >= input.from_time AND candidate.timestamp < input.until_time
              AND (candidate.timestamp, candidate.id) > (input.after_timestamp, input.after_id)
            ORDER BY candidate.timestamp, candidate.id LIMIT input.max_rows
        ) found
        WHERE level.name = ANY (input.seen)
        UNION ALL
        SELECT found.*
        FROM (VALUES ('public'), ('private'), ('agent_only'), ('admin_only')) AS level (name)
        CROSS JOIN LATERAL (
            SELECT * FROM messages candidate
            WHERE candidate.session_id = s.id AND candidate.visibility = level.name AND candidate.sender = input.reader
              AND candidate.timestamp >= input.from_time AND candidate.timestamp < input.until_time
              AND (candidate.timestamp, candidate.id) > (input.after_timestamp, input.after_id)
            ORDER BY candidate.timestamp, candidate.id LIMIT input.max_rows
        ) found
        WHERE level.name = ANY (input.own)
        UNION ALL
        SELECT found.*
        FROM (
            SELECT * FROM messages candidate
            WHERE candidate.session_id = s.id AND candidate.visibility = 'agent_only' AND candidate.sender_type = input.reader_type
              AND candidate.timestamp >= input.from_time AND candidate.timestamp < input.until_time
              AND (candidate.timestamp, candidate.id) > (input.after_timestamp, input.after_id)
            ORDER BY candidate.timestamp, candidate.id LIMIT input.max_rows
        ) found
        WHERE 'agent_only' = ANY (input.kin)
    ) m
    WHERE (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
    ORDER BY m.timestamp, m.id
    LIMIT input.max_rows
) m ON true
WHERE s.id = @session_id
ORDER BY m.timestamp, m.id;

-- The thread that a message is in: the message at its root and all answers, direct or not, oldest first, as far as the
-- reader may see them; the way to them also leads over messages that it may not see. No row when the message is not in
-- the session or the reader may not see it. A cycle, which no operation makes, is walked once.
-- name: MessageThread :many
WITH RECURSIVE ancestor AS (
    SELECT m.id, m.parent_message_id
    FROM messages m
    WHERE m.id = @message_id
      AND m.session_id = @session_id
      AND (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
    UNION
    SELECT p.id, p.parent_message_id
    FROM ancestor
    JOIN messages p ON p.id = ancestor.parent_message_id AND p.session_id = @session_id
), thread AS (
    SELECT ancestor.id
    FROM ancestor
    UNION
    SELECT answer.id
    FROM thread
    JOIN messages answer ON answer.parent_message_id = thread.id AND answer.session_id = @session_id
)
SELECT m.id, m.sender::text AS sender, m.sender_type::text AS sender_type, m.content, m.visibility::text AS visibility,
       m.message_type::text AS message_type, m.metadata, m.timestamp, m.parent_message_id
FROM thread
JOIN messages m ON m.id = thread.id AND m.session_id = @session_id
WHERE (m.visibility = ANY (@seen::text[])
    OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
    OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
ORDER BY m.timestamp, m.id
LIMIT @max_rows;

-- How many messages of a session the reader may see, by visibility and sender. A session without any gives a single row
-- with an empty sender; no session gives no row.
-- name: MessageCount :many
SELECT coalesce(m.visibility, '')::text AS visibility, coalesce(m.sender, '')::text AS sender, count(m.id) AS count
FROM sessions s
LEFT JOIN messages m ON m.session_id = s.id
      AND (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
WHERE s.id = @session_id
GROUP BY m.visibility, m.sender
ORDER BY m.visibility, m.sender;
