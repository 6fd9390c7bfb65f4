-- Sets an entry of the agent's global memory, with its audit row. The id is 0 when a live entry is there and may not be
-- overwritten; one whose expires_at is not after now is as good as gone, and its successor counts as new. A time to live
-- of 0 means forever. The older created_at stays, whatever order concurrent setters come in, so that no expires_at is
-- before it.
-- name: MemorySetGlobal :one
WITH entry AS (
    INSERT INTO agent_memory AS m (agent_id, key, value, metadata, created_at, updated_at, expires_at)
    SELECT @agent_id, @key, @value, sqlc.narg('metadata')::jsonb, clock.now, clock.now,
           clock.now + nullif(@ttl_microseconds::bigint, 0) * interval '1 microsecond'
    FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, now()) AS now) AS clock
    ON CONFLICT (agent_id, key) WHERE session_id IS NULL DO UPDATE
    SET value = excluded.value, metadata = excluded.metadata, updated_at = excluded.updated_at, expires_at = excluded.expires_at,
        created_at = CASE WHEN m.expires_at <= excluded.created_at THEN excluded.created_at
                          ELSE least(m.created_at, excluded.created_at) END
    WHERE @overwrite::boolean OR m.expires_at <= excluded.created_at
    RETURNING id, agent_id, key, created_at, updated_at, expires_at
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, metadata)
    SELECT 'memory_set', agent_id, jsonb_build_object('key', key, 'scope', 'global') FROM entry
)
SELECT coalesce(entry.id, 0)::bigint AS id,
       coalesce(entry.created_at, 'epoch')::timestamptz AS created_at,
       coalesce(entry.updated_at, 'epoch')::timestamptz AS updated_at,
       entry.expires_at
FROM (SELECT) AS always
LEFT JOIN entry ON true;

-- Sets an entry of the agent's memory in a session, as MemorySetGlobal does. The id is 0 also when the session does not
-- exist (session_found tells). The session is locked first, as the foreign key of the audit row would do last: so a
-- session that is being deleted is waited for, where the two would end in a deadlock.
-- name: MemorySetSession :one
WITH session AS (
    SELECT s.id FROM sessions s WHERE s.id = @session_id FOR KEY SHARE
), entry AS (
    INSERT INTO agent_memory AS m (agent_id, session_id, key, value, metadata, created_at, updated_at, expires_at)
    SELECT @agent_id, session.id, @key, @value, sqlc.narg('metadata')::jsonb, clock.now, clock.now,
           clock.now + nullif(@ttl_microseconds::bigint, 0) * interval '1 microsecond'
    FROM session, (SELECT coalesce(sqlc.narg('now')::timestamptz, now()) AS now) AS clock
    ON CONFLICT (agent_id, session_id, key) DO UPDATE
    SET value = excluded.value, metadata = excluded.metadata, updated_at = excluded.updated_at, expires_at = excluded.expires_at,
        created_at = CASE WHEN m.expires_at <= excluded.created_at THEN excluded.created_at
                          ELSE least(m.created_at, excluded.created_at) END
    WHERE @overwrite::boolean OR m.expires_at <= excluded.created_at
    RETURNING id, agent_id, session_id, key, created_at, updated_at, expires_at
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
    SELECT 'memory_set', agent_id, session_id, jsonb_build_object('key', key, 'scope', 'session') FROM entry
)
SELECT coalesce(entry.id, 0)::bigint AS id,
       coalesce(entry.created_at, 'epoch')::timestamptz AS created_at,
       coalesce(entry.updated_at, 'epoch')::timestamptz AS updated_at,
       entry.expires_at,
       EXISTS (SELECT FROM session) AS session_found
FROM (SELECT) AS always
LEFT JOIN entry ON true;

-- A live entry of the agent's global memory.
-- name: MemoryGetGlobal :one
SELECT m.value, m.metadata, m.created_at, m.updated_at, m.expires_at
FROM agent_memory m
WHERE m.agent_id = @agent_id AND m.session_id IS NULL AND m.key = @key
  AND (m.expires_at IS NULL OR m.expires_at > coalesce(sqlc.narg('now')::timestamptz, now()));

-- A live entry of the agent's memory in a session.
-- name: MemoryGetSession :one
SELECT m.value, m.metadata, m.created_at, m.updated_at, m.expires_at
FROM agent_memory m
WHERE m.agent_id = @agent_id AND m.session_id = @session_id::text AND m.key = @key
  AND (m.expires_at IS NULL OR m.expires_at > coalesce(sqlc.narg('now')::timestamptz, now()));

-- Deletes an entry of the agent's global memory, with its audit row; 0 rows when there is none. One that has expired is
-- deleted without an audit row and tells so.
-- name: MemoryDeleteGlobal :one
WITH deleted AS (
    DELETE FROM agent_memory m
    WHERE m.agent_id = @agent_id AND m.session_id IS NULL AND m.key = @key
    RETURNING m.agent_id, m.key, coalesce(m.expires_at <= coalesce(sqlc.narg('now')::timestamptz, now()), false) AS expired
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, metadata)
    SELECT 'memory_deleted', agent_id, jsonb_build_object('key', key, 'scope', 'global') FROM deleted WHERE NOT expired
)
SELECT expired::boolean AS expired FROM deleted;

-- Deletes an entry of the agent's memory in a session, as MemoryDeleteGlobal does; it locks as MemorySetSession does.
-- name: MemoryDeleteSession :one
WITH session AS (
    SELECT s.id FROM sessions s WHERE s.id = @session_id FOR KEY SHARE
), deleted AS (
    DELETE FROM agent_memory m
    WHERE m.agent_id = @agent_id AND m.session_id = (SELECT id FROM session) AND m.key = @key
    RETURNING m.agent_id, m.session_id, m.key,
              coalesce(m.expires_at <= coalesce(sqlc.narg('now')::timestamptz, now()), false) AS expired
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, session_id, metadata)
    SELECT 'memory_deleted', agent_id, session_id, jsonb_build_object('key', key, 'scope', 'session')
    FROM deleted WHERE NOT expired
)
SELECT expired::boolean AS expired FROM deleted;

-- The live entries of the agent's global memory whose key has a prefix, by key, from a key on, without their values. The
-- empty prefix is one of every key.
-- name: MemoryListGlobal :many
SELECT m.key, length(m.value)::integer AS size, m.created_at, m.updated_at, m.expires_at
FROM agent_memory m
WHERE m.agent_id = @agent_id AND m.session_id IS NULL AND m.key > @after_key AND starts_with(m.key, @prefix::text)
  AND (m.expires_at IS NULL OR m.expires_at > coalesce(sqlc.narg('now')::timestamptz, now()))
ORDER BY m.key
LIMIT @max_rows;

-- The live entries of the agent's memory in a session, as MemoryListGlobal gives them.
-- name: MemoryListSession :many
SELECT m.key, length(m.value)::integer AS size, m.created_at, m.updated_at, m.expires_at
FROM agent_memory m
WHERE m.agent_id = @agent_id AND m.session_id = @session_id::text AND m.key > @after_key AND starts_with(m.key, @prefix::text)
  AND (m.expires_at IS NULL OR m.expires_at > coalesce(sqlc.narg('now')::timestamptz, now()))
ORDER BY m.key
LIMIT @max_rows;

-- The live entries of all memory of the agent: the global ones, whose session_id is empty here, by key, then those of
-- each session by session and key. Each half reads its own index from the cursor on.
-- name: MemoryListAgent :many
WITH global AS (
    SELECT ''::text AS session_id, m.key, length(m.value)::integer AS size, m.created_at, m.updated_at, m.expires_at
    FROM agent_memory m
    WHERE m.agent_id = @agent_id AND m.session_id IS NULL AND m.key > @after_key AND @after_session_id::text = ''
      AND starts_with(m.key, @prefix::text)
      AND (m.expires_at IS NULL OR m.expires_at > coalesce(sqlc.narg('now')::timestamptz, now()))
    ORDER BY m.key
    LIMIT @max_rows
), in_session AS (
    SELECT m.session_id::text AS session_id, m.key, length(m.value)::integer AS size, m.created_at, m.updated_at, m.expires_at
    FROM agent_memory m
    WHERE m.agent_id = @agent_id AND (m.session_id, m.key) > (@after_session_id::text, @after_key)
      AND starts_with(m.key, @prefix::text)
      AND (m.expires_at IS NULL OR m.expires_at > coalesce(sqlc.narg('now')::timestamptz, now()))
    ORDER BY m.session_id, m.key
    LIMIT @max_rows
), entry AS (
    SELECT * FROM global UNION ALL SELECT * FROM in_session
)
SELECT session_id, key, size, created_at, updated_at, expires_at
FROM entry
ORDER BY session_id <> '', session_id, key
LIMIT @max_rows;

-- The live entries of all agents, the latest updated first, from a key on, without their values.
-- name: MemoryListLatest :many
SELECT m.id, m.agent_id, coalesce(m.session_id, '')::text AS session_id, m.key, length(m.value)::integer AS size,
       m.created_at, m.updated_at, m.expires_at
FROM agent_memory m
WHERE (m.updated_at, m.id) < (@before_updated_at::timestamptz, @before_id::bigint)
  AND (m.expires_at IS NULL OR m.expires_at > coalesce(sqlc.narg('now')::timestamptz, now()))
ORDER BY m.updated_at DESC, m.id DESC
LIMIT @max_rows;

-- How many live entries there are, of which kinds and of how many agents.
-- name: MemoryCount :one
SELECT count(*) AS total,
       count(*) FILTER (WHERE m.session_id IS NULL) AS global,
       count(*) FILTER (WHERE m.session_id IS NOT NULL) AS session,
       count(*) FILTER (WHERE m.expires_at IS NOT NULL) AS expiring,
       count(DISTINCT m.agent_id) AS agents
FROM agent_memory m
WHERE m.expires_at IS NULL OR m.expires_at > coalesce(sqlc.narg('now')::timestamptz, now());
