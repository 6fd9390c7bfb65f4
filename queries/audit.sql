-- Adds an event to the audit log; no row when the session that it names does not exist.
-- name: AuditAppend :one
INSERT INTO audit_log (event_type, agent_id, session_id, resource, action, result, metadata, timestamp)
SELECT @event_type, @agent_id, sqlc.narg('session_id')::text, sqlc.narg('resource')::text, sqlc.narg('action')::text,
       sqlc.narg('result')::text, sqlc.narg('metadata')::jsonb, coalesce(sqlc.narg('now')::timestamptz, now())
WHERE sqlc.narg('session_id')::text IS NULL
   OR EXISTS (SELECT FROM sessions s WHERE s.id = sqlc.narg('session_id')::text)
RETURNING id, timestamp;

-- Audit events of all agents from a key down to a time, newest first. This and the next three are one list: each filter
-- has its own statement and its own index. Equality with the filter would let a plan that does not know the value walk
-- idx_audit_log_timestamp instead, which for a rare value is the whole log; BETWEEN and an order that begins with the
-- column leave only the index that has this order. The further filters are CASE so that the plan expects them to keep
-- much and walks the index to the end of the page, rather than sort all that the index finds.
-- name: AuditList :many
SELECT *
FROM audit_log
WHERE timestamp >= @from_time::timestamptz
  AND (timestamp, id) < (@before_timestamp::timestamptz, @before_id::bigint)
ORDER BY timestamp DESC, id DESC
LIMIT @max_rows;

-- Audit events of an agent, of one type where event_type is not empty.
-- name: AuditListByAgent :many
SELECT *
FROM audit_log
WHERE agent_id BETWEEN @agent_id::text AND @agent_id::text
  AND timestamp >= @from_time::timestamptz
  AND (timestamp, id) < (@before_timestamp::timestamptz, @before_id::bigint)
  AND CASE WHEN @event_type::text = '' THEN true ELSE event_type = @event_type::text END
ORDER BY agent_id DESC, timestamp DESC, id DESC
LIMIT @max_rows;

-- Audit events of a session, of one agent and of one type where these are not empty.
-- name: AuditListBySession :many
SELECT *
FROM audit_log
WHERE session_id BETWEEN @session_id::text AND @session_id::text
  AND timestamp >= @from_time::timestamptz
  AND (timestamp, id) < (@before_timestamp::timestamptz, @before_id::bigint)
  AND CASE WHEN @agent_id::text = '' THEN true ELSE agent_id = @agent_id::text END
  AND CASE WHEN @event_type::text = '' THEN true ELSE event_type = @event_type::text END
ORDER BY session_id DESC, timestamp DESC, id DESC
LIMIT @max_rows;

-- Audit events of a type.
-- name: AuditListByEventType :many
SELECT *
FROM audit_log
WHERE event_type BETWEEN @event_type::text AND @event_type::text
  AND timestamp >= @from_time::timestamptz
  AND (timestamp, id) < (@before_timestamp::timestamptz, @before_id::bigint)
ORDER BY event_type DESC, timestamp DESC, id DESC
LIMIT @max_rows;

-- Per agent and event type how many events there are, and since when, from a key on. Reads the whole log.
-- name: AuditSummary :many
SELECT agent_id, event_type, event_count, first_event::timestamptz AS first_event, last_event::timestamptz AS last_event
FROM audit_activity_summary
WHERE (agent_id, event_type) > (@after_agent_id::text, @after_event_type::text)
ORDER BY agent_id, event_type
LIMIT @max_rows;

-- The same of one agent, which reads only its events.
-- name: AuditSummaryOfAgent :many
SELECT agent_id, event_type, event_count, first_event::timestamptz AS first_event, last_event::timestamptz AS last_event
FROM audit_activity_summary
WHERE agent_id = @agent_id AND event_type > @after_event_type::text
ORDER BY event_type
LIMIT @max_rows;
