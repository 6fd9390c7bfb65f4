-- What the database holds: sessions, active ones among them, messages, and memory that has not expired.
-- name: DashboardTotals :one
SELECT (SELECT count(*) FROM sessions) AS sessions,
       (SELECT count(*) FROM sessions WHERE is_active) AS active_sessions,
       (SELECT count(*) FROM messages) AS messages,
       (SELECT count(*) FROM agent_memory WHERE expires_at IS NULL OR expires_at > now()) AS live_memory;

-- Active sessions with all their messages counted, the latest message first, sessions without one last, from a key on.
-- The time 0001-01-01 stands for no message.
-- name: DashboardActiveSessions :many
SELECT id, purpose, created_at::timestamptz AS created_at, updated_at::timestamptz AS updated_at, created_by, metadata, message_count,
       coalesce(last_message_at, '0001-01-01 00:00:00+00')::timestamptz AS last_message_at, unique_agents
FROM active_sessions_with_activity
WHERE (coalesce(last_message_at, '0001-01-01 00:00:00+00'), id) < (@before_timestamp::timestamptz, @before_id::text)
ORDER BY coalesce(last_message_at, '0001-01-01 00:00:00+00') DESC, id DESC
LIMIT @max_rows;

-- Per agent what its memory holds, expired entries included, most entries first, from a key on.
-- name: DashboardAgentMemory :many
SELECT agent_id, total_entries, global_entries, session_entries, expiring_entries,
       first_entry::timestamptz AS first_entry, last_updated::timestamptz AS last_updated
FROM agent_memory_summary
WHERE (-total_entries, agent_id) > (@after_negative_entries::bigint, @after_agent_id::text)
ORDER BY -total_entries, agent_id
LIMIT @max_rows;
