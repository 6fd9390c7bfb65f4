-- Keeps a token, with its audit row. The id of a token opens it to whoever holds it: audit rows name it by a reference
-- that does not lead back to the id.
-- name: TokenCreate :one
WITH token AS (
    INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at, created_at)
    SELECT @token_id, @encrypted_jwt, @agent_id, clock.now + sqlc.arg('ttl_microseconds')::bigint * interval '1 microsecond', clock.now
    FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, now()) AS now) AS clock
    RETURNING agent_id, expires_at, created_at
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, resource)
    SELECT 'token_created', agent_id, @reference::text FROM token
)
SELECT expires_at, created_at::timestamptz AS created_at FROM token;

-- A token that has not expired.
-- name: TokenResolve :one
SELECT encrypted_jwt, agent_id, expires_at FROM secure_tokens WHERE token_id = @token_id AND expires_at > now();

-- Replaces a token that has not expired by one with another id and what the old one holds, with an audit row. Of those
-- who try at once, one deletes the row; the others wait for it, find it gone and get no row.
-- name: TokenRefresh :one
WITH removed AS (
    DELETE FROM secure_tokens t WHERE t.token_id = @token_id AND t.expires_at > now() RETURNING t.encrypted_jwt, t.agent_id
), token AS (
    INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at, created_at)
    SELECT @new_token_id, encrypted_jwt, agent_id, now() + sqlc.arg('ttl_microseconds')::bigint * interval '1 microsecond', now()
    FROM removed
    RETURNING encrypted_jwt, agent_id, expires_at, created_at
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, resource, metadata)
    SELECT 'token_refreshed', agent_id, @new_reference::text, jsonb_build_object('replaces', @reference::text) FROM token
)
SELECT encrypted_jwt, agent_id, expires_at, created_at::timestamptz AS created_at FROM token;

-- A token, expired or not.
-- name: TokenRecover :one
SELECT encrypted_jwt, agent_id FROM secure_tokens WHERE token_id = @token_id;

-- Deletes one batch of tokens that expired before a time; rows that another process is deleting are left to it.
-- name: TokenDeleteExpired :execrows
DELETE FROM secure_tokens
WHERE id IN (
    SELECT id FROM secure_tokens WHERE expires_at < @before::timestamptz
    ORDER BY expires_at LIMIT @max_rows FOR UPDATE SKIP LOCKED
);
