-- The reads of the fuzzy search. Their rows pass through a filter in store/search_ranking.go that scores each message as
-- it arrives and keeps only those that can be in the result: it relies on the order of the columns. Rows come in any
-- order where a statement says none.

-- The latest visible messages of a session since a time (seven days ago where none is given), with the audit row of the
-- search. A session without any gives a single row with id 0; no session gives no row.
-- name: MessageSearchLatest :many
WITH session AS (
    SELECT s.id FROM sessions s WHERE s.id = @session_id
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
    SELECT 'context_searched', @reader, session.id, @audit::jsonb FROM session
)
SELECT coalesce(m.id, 0)::bigint AS id,
       coalesce(m.timestamp, 'epoch')::timestamptz AS timestamp,
       coalesce(m.sender, '')::text AS sender,
       coalesce(m.content, '')::text AS content,
       m.metadata,
       coalesce(m.sender_type, '')::text AS sender_type,
       coalesce(m.visibility, '')::text AS visibility,
       coalesce(m.message_type, '')::text AS message_type,
       m.parent_message_id
FROM session
LEFT JOIN LATERAL (
    SELECT *
    FROM messages m
    WHERE m.session_id = session.id
      AND m.timestamp >= coalesce(sqlc.narg('since')::timestamptz, now() - interval '7 days')
      AND (m.visibility = ANY (@seen::text[])
        OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
        OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
    ORDER BY m.timestamp DESC, m.id DESC
    LIMIT @max_rows
) m ON true;

-- The visible messages of a session before a key and since a time, newest first.
-- name: MessageSearchBefore :many
SELECT m.id, m.timestamp, m.sender::text AS sender, m.content, m.metadata, m.sender_type::text AS sender_type,
       m.visibility::text AS visibility, m.message_type::text AS message_type, m.parent_message_id
FROM messages m
WHERE m.session_id = @session_id
  AND (m.timestamp, m.id) < (@before_timestamp::timestamptz, @before_id::bigint)
  AND m.timestamp >= @since::timestamptz
  AND (m.visibility = ANY (@seen::text[])
    OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
    OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type))
ORDER BY m.timestamp DESC, m.id DESC
LIMIT @max_rows;

-- The visible messages of a session before a time whose text matches one of the patterns. The time must be known to the
-- planner, as the search index holds only what is before one: the statement is planned with its values each time.
-- name: MessageSearchLike :many
SELECT m.id, m.timestamp, m.sender::text AS sender, m.content, m.metadata, m.sender_type::text AS sender_type,
       m.visibility::text AS visibility, m.message_type::text AS message_type, m.parent_message_id
FROM messages m
WHERE m.session_id = @session_id
  AND m.timestamp < @indexed_before::timestamptz
  AND message_search_text(m.sender, m.content, m.metadata) LIKE ANY (@patterns::text[])
  AND (m.visibility = ANY (@seen::text[])
    OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
    OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type));

-- The visible messages of a session in a range of time whose sender and content together are short. What MessageSearchLike
-- says of its time holds here too; 128 is the bound of the index.
-- name: MessageSearchShort :many
SELECT m.id, m.timestamp, m.sender::text AS sender, m.content, m.metadata, m.sender_type::text AS sender_type,
       m.visibility::text AS visibility, m.message_type::text AS message_type, m.parent_message_id
FROM messages m
WHERE m.session_id = @session_id
  AND m.timestamp < @indexed_before::timestamptz
  AND m.timestamp - @since::timestamptz >= interval '0' -- not by an index: the one of short texts is meant
  AND char_length(m.sender) + char_length(m.content) < 128
  AND char_length(m.sender) + char_length(m.content) < @below_length::integer
  AND (m.visibility = ANY (@seen::text[])
    OR (m.visibility = ANY (@own::text[]) AND m.sender = @reader)
    OR (m.visibility = ANY (@kin::text[]) AND m.sender_type = @reader_type));

-- The search index with which the most is found: up to which time it holds messages, and whether its server folds and
-- indexes letters beyond ASCII. No row when there is none, or none that is complete.
-- name: SearchIndexGet :one
SELECT substring(pg_get_expr(i.indpred, i.indrelid) FROM '''([^'']+)''')::timestamptz AS indexed_before,
       (pg_relation_size(i.indexrelid) + pg_relation_size(short.indexrelid))::bigint AS bytes,
       (current_setting('lc_ctype') NOT IN ('C', 'POSIX'))::boolean AS folds_unicode
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_index short ON short.indrelid = i.indrelid AND short.indisvalid
JOIN pg_catalog.pg_class short_class ON short_class.oid = short.indexrelid
WHERE i.indrelid = 'messages'::regclass
  AND i.indisvalid
  AND starts_with(c.relname, 'idx_messages_search_text_')
  AND short_class.relname = replace(c.relname, '_text_', '_short_')
ORDER BY 1 DESC
LIMIT 1;
