-- Creates a session, with its audit row.
-- name: SessionCreate :one
WITH session AS (
    INSERT INTO sessions (id, purpose, created_by, metadata, created_at, updated_at)
    SELECT @id, @purpose, @created_by, sqlc.narg('metadata')::jsonb, clock.now, clock.now
    FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, now()) AS now) AS clock
    RETURNING id, created_at, created_by
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id)
    SELECT 'session_created', created_by, id FROM session
)
SELECT created_at::timestamptz AS created_at FROM session;

-- One session with its latest visible messages, newest first; a session without one gives a single row with message 0.
-- The lists seen, own and kin of visibility levels come from store/visibility.go, here as in each read of messages; the
-- messages are merged as in MessagePageAfter.
-- name: SessionGet :many
SELECT sqlc.embed(s),
       coalesce(m.id, 0)::bigint AS message_id,
       coalesce(m.sender, '')::text AS sender,
       coalesce(m.sender_type, '')::text AS sender_type,
       coalesce(m.content, '')::text AS content,
       coalesce(m.visibility, '')::text AS visibility,
       coalesce(m.message_type, '')::text AS message_type,
       m.metadata AS message_metadata,
       coalesce(m.timestamp, 'epoch')::timestamptz AS timestamp,
       m.parent_message_id
FROM sessions s
CROSS JOIN (
    SELECT @seen::text[] AS seen, @own::text[] AS own, @kin::text[] AS kin, @reader::text AS reader, @reader_type::text AS reader_type,
           @max_messages::integer AS max_rows
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
            ORDER BY candidate.timestamp DESC, candidate.id DESC LIMIT input.max_rows
        ) found
        WHERE level.name = ANY (input.seen)
        UNION ALL
        SELECT found.*
        FROM (VALUES ('public'), ('private'), ('agent_only'), ('admin_only')) AS level (name)
        CROSS JOIN LATERAL (
            SELECT * FROM messages candidate
            WHERE candidate.session_id = s.id AND candidate.visibility = level.name AND candidate.sender = input.reader
            ORDER BY candidate.timestamp DESC, candidate.id DESC LIMIT input.max_rows
        ) found
        WHERE level.name = ANY (input.own)
        UNION ALL
        SELECT found.*
        FROM (
            SELECT * FROM messages candidate
            WHERE candidate.session_id = s.id AND candidate.visibility = 'agent_only' AND candidate.sender_type = input.reader_type
            ORDER BY candidate.timestamp DESC, candidate.id DESC LIMIT input.max_rows
        ) found
        WHERE 'agent_only' = ANY (input.kin)
    ) m
    WHERE (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
    ORDER BY m.timestamp DESC, m.id DESC
    LIMIT input.max_rows
) m ON true
WHERE s.id = @id
ORDER BY m.timestamp DESC, m.id DESC;

-- Active sessions by their latest visible message, or their creation where there is none, latest first, from a key on.
-- Only the sessions of the page have their messages and their live memory counted: of memory the reader's own entries, or
-- those of all agents. Memory is counted apart, for the ids of the page: agent_memory itself is joined with nothing.
-- name: SessionListActive :many
WITH page AS (
    SELECT s.id, s.purpose, s.created_at, s.updated_at, s.created_by, s.metadata,
           coalesce(latest.timestamp, s.created_at)::timestamptz AS last_activity
    FROM sessions s
    LEFT JOIN LATERAL (
        SELECT m.timestamp
        FROM messages m
        WHERE m.session_id = s.id
          AND (m.visibility = ANY (@seen::text[])
            OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
            OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
        ORDER BY m.timestamp DESC, m.id DESC
        LIMIT 1
    ) latest ON true
    WHERE s.is_active
      AND (coalesce(latest.timestamp, s.created_at), s.id) < (@before_activity::timestamptz, @before_id::text)
    ORDER BY coalesce(latest.timestamp, s.created_at) DESC, s.id DESC
    LIMIT @max_rows
), memory AS (
    SELECT e.session_id, count(*) AS entries
    FROM agent_memory e
    WHERE e.session_id = ANY (ARRAY(SELECT page.id FROM page))
      AND (@all_agents::boolean OR e.agent_id = @reader)
      AND (e.expires_at IS NULL OR e.expires_at > now())
    GROUP BY e.session_id
)
SELECT page.*, counts.message_count, counts.participants,
       coalesce(memory.entries, 0)::bigint AS memory_count
FROM page
LEFT JOIN memory ON memory.session_id = page.id
CROSS JOIN LATERAL (
    SELECT count(*) AS message_count, count(DISTINCT m.sender) AS participants
    FROM messages m
    WHERE m.session_id = page.id
      AND (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
) counts
ORDER BY page.last_activity DESC, page.id DESC;

-- Takes a session off the active list, with its audit row; 0 rows when there is no such session. A session that is
-- inactive already stays as it is, without an audit row.
-- name: SessionDeactivate :one
WITH session AS (
    SELECT s.id, s.is_active FROM sessions s WHERE s.id = @id
), deactivated AS (
    UPDATE sessions s SET is_active = false WHERE s.id = @id AND s.is_active RETURNING s.id
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id)
    SELECT 'session_deactivated', @agent_id, id FROM deactivated
)
SELECT is_active AS was_active FROM session;

-- Deletes a session with its messages and its memory, with an audit row that names it; 0 rows when there is none.
-- name: SessionDelete :one
WITH deleted AS (
    DELETE FROM sessions s WHERE s.id = @id RETURNING s.id
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, resource)
    SELECT 'session_deleted', @agent_id, id FROM deleted
)
SELECT id FROM deleted;

-- Merges an object into the metadata of a session: its keys replace those of the same name. The result is null, and
-- nothing is changed, where it would be larger than the limits; no row when there is no such session.
-- name: SessionMergeMetadata :one
WITH session AS (
    SELECT s.id FROM sessions s WHERE s.id = @id
), merged AS (
    UPDATE sessions s
    SET metadata = coalesce(nullif(s.metadata, 'null'), '{}') || @patch::jsonb
    WHERE s.id = @id
      AND length((coalesce(nullif(s.metadata, 'null'), '{}') || @patch::jsonb)::text) <= @max_length::integer
      AND (SELECT count(*) FROM jsonb_object_keys(coalesce(nullif(s.metadata, 'null'), '{}') || @patch::jsonb)) <= @max_keys::integer
    RETURNING s.metadata
)
SELECT (SELECT metadata FROM merged) AS metadata FROM session;
