-- One process seals at a time; the lock ends with the transaction. It protects nothing but this work.
-- name: AuditSealLock :one
SELECT pg_try_advisory_xact_lock(7235419862201193473)::boolean AS locked;

-- The horizon that is left from the time before, 0 when there is none, and whether a transaction that may still write
-- rows below it is running.
-- name: AuditSealHorizonGet :one
SELECT h.last_id,
       EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.virtualtransaction = ANY (h.holders)
                 AND l.relation = 'audit_log'::regclass AND l.mode = 'RowExclusiveLock') AS waiting
FROM audit_seal_horizon h;

-- The last id that the audit log has given out.
-- name: AuditSealLastID :one
SELECT coalesce(pg_catalog.pg_sequence_last_value(pg_get_serial_sequence('audit_log', 'id')::regclass), 0)::bigint AS last_id;

-- The transactions that write to the audit log. Each takes this lock before it takes an id, and keeps it to its end: a
-- row with an id that was given out before this statement is either visible after it or belongs to one of these.
-- name: AuditSealHolders :one
SELECT ARRAY(
    SELECT l.virtualtransaction
    FROM pg_catalog.pg_locks l
    WHERE l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
      AND l.relation = 'audit_log'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted
      AND l.pid IS DISTINCT FROM pg_backend_pid()
)::text[] AS holders;

-- Remembers the horizon for the next time.
-- name: AuditSealHorizonSet :exec
INSERT INTO audit_seal_horizon (last_id, holders)
VALUES (@last_id, @holders::text[])
ON CONFLICT (only_row) DO UPDATE SET last_id = excluded.last_id, holders = excluded.holders WHERE audit_seal_horizon.only_row;

-- Seals the next block of rows up to the horizon; no row when there are none. A row is digested as the JSON array of its
-- columns, whose text is the same in every session; AuditSealVerify does the same.
-- name: AuditSealBlock :one
WITH previous AS (
    SELECT seal_no, last_id, digest FROM audit_seal ORDER BY seal_no DESC LIMIT 1
), bounds AS (
    SELECT coalesce((SELECT seal_no FROM previous), 0) + 1 AS seal_no,
           coalesce((SELECT last_id FROM previous), '-9223372036854775808'::bigint) AS after_id,
           coalesce((SELECT digest FROM previous), decode(repeat('00', 32), 'hex')) AS previous_digest
), page AS (
    SELECT a.id, a.timestamp AT TIME ZONE 'UTC' AS at, a.timestamp, a.session_id::text AS session_id,
           sha256(convert_to(jsonb_build_array(a.id, a.timestamp AT TIME ZONE 'UTC', a.event_type, a.agent_id, a.session_id,
               a.resource, a.action, a.result, a.metadata)::text, 'UTF8')) AS row_digest
    FROM audit_log a
    WHERE a.id > (SELECT after_id FROM bounds) AND a.id <= @horizon::bigint -- a join would start at the first row
    ORDER BY a.id
    LIMIT @max_rows::integer
), block AS (
    SELECT count(*)::integer AS row_count, max(id) AS max_id, max(timestamp) AS newest, array_agg(id ORDER BY id) AS ids,
           array_agg(at ORDER BY id) AS timestamps, array_agg(session_id ORDER BY id) AS session_ids,
           string_agg(row_digest, ''::bytea ORDER BY id) AS row_digests
    FROM page
), content AS (
    SELECT block.*, CASE WHEN block.row_count < @max_rows::integer THEN @horizon::bigint ELSE block.max_id END AS last_id,
           sha256(convert_to(jsonb_build_array(to_jsonb(ids), to_jsonb(timestamps), to_jsonb(session_ids))::text, 'UTF8') || row_digests) AS content_digest
    FROM block
    WHERE block.row_count > 0
)
INSERT INTO audit_seal (seal_no, after_id, last_id, row_count, newest, ids, timestamps, session_ids, row_digests,
                        content_digest, previous_digest, digest, sealed_at)
SELECT b.seal_no, b.after_id, c.last_id, c.row_count, c.newest, c.ids, c.timestamps, c.session_ids, c.row_digests,
       c.content_digest, b.previous_digest,
       sha256(b.previous_digest || c.content_digest || convert_to(jsonb_build_array(b.seal_no, b.after_id, c.last_id, c.row_count,
           c.newest AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')::text, 'UTF8')),
       now()
FROM content c, bounds b
RETURNING seal_no, row_count, digest;

-- The time before which the cleanup has deleted rows, in microseconds since 1970: it leaves an audit row that says so.
-- name: AuditExpiredBefore :one
SELECT coalesce(max(CASE WHEN jsonb_typeof(metadata->'before') = 'number' THEN (metadata->>'before')::numeric END), 0)::bigint AS before
FROM audit_log
WHERE event_type = 'audit_expired' AND agent_id = 'system'
  AND CASE WHEN jsonb_typeof(metadata->'before') = 'number'
           THEN (metadata->>'before')::numeric <= extract(epoch FROM timestamp)::numeric * 1000000 ELSE false END;

-- Drops the digests of the rows of one batch of blocks of which all rows have expired; the chain keeps its links.
-- name: AuditSealExpire :execrows
UPDATE audit_seal
SET ids = NULL, timestamps = NULL, session_ids = NULL, row_digests = NULL
WHERE seal_no IN (
    SELECT seal_no
    FROM audit_seal
    WHERE ids IS NOT NULL AND newest < @before::timestamptz
      AND NOT EXISTS (SELECT FROM audit_log a WHERE a.id > after_id AND a.id <= last_id)
    ORDER BY newest
    LIMIT @max_rows
);

-- Compares the next block with its rows. A row whose session was deleted since has lost its session_id, which the
-- foreign key does; it counts as unchanged when no such session exists.
-- name: AuditSealVerify :one
WITH block AS (
    SELECT *, @expired_before::timestamptz AS expired_before FROM audit_seal WHERE seal_no > @after_seal_no ORDER BY seal_no LIMIT 1
), sealed AS (
    SELECT unnest(b.ids) AS id, unnest(b.timestamps) AS at, unnest(b.session_ids) AS session_id,
           generate_subscripts(b.ids, 1) AS position, b.row_digests, b.expired_before AT TIME ZONE 'UTC' AS expired_before
    FROM block b
), compared AS (
    SELECT coalesce(s.id, a.id) AS id,
           CASE
               WHEN s.id IS NULL THEN 'inserted'
               WHEN a.id IS NULL AND s.at < s.expired_before THEN 'expired'
               WHEN a.id IS NULL THEN 'removed'
               WHEN sha256(convert_to(jsonb_build_array(a.id, a.timestamp AT TIME ZONE 'UTC', a.event_type, a.agent_id,
                        coalesce(a.session_id, CASE WHEN o.id IS NULL THEN s.session_id END),
                        a.resource, a.action, a.result, a.metadata)::text, 'UTF8'))
                    IS DISTINCT FROM substring(s.row_digests FROM (s.position - 1) * 32 + 1 FOR 32) THEN 'changed'
               ELSE 'verified'
           END AS state
    FROM sealed s
    FULL JOIN (
        SELECT l.* FROM audit_log l, block b WHERE l.id > b.after_id AND l.id <= b.last_id
    ) a ON a.id = s.id
    LEFT JOIN sessions o ON o.id = s.session_id
)
SELECT b.seal_no, b.after_id, b.last_id, b.row_count, b.previous_digest, b.digest,
       (b.ids IS NULL)::boolean AS expired,
       (b.digest = sha256(b.previous_digest || b.content_digest || convert_to(jsonb_build_array(b.seal_no, b.after_id, b.last_id,
           b.row_count, b.newest AT TIME ZONE 'UTC', b.sealed_at AT TIME ZONE 'UTC')::text, 'UTF8'))
        AND CASE WHEN b.ids IS NULL AND b.timestamps IS NULL AND b.session_ids IS NULL AND b.row_digests IS NULL
                 THEN b.newest < b.expired_before
                 ELSE coalesce(b.content_digest = sha256(convert_to(jsonb_build_array(to_jsonb(b.ids), to_jsonb(b.timestamps),
                     to_jsonb(b.session_ids))::text, 'UTF8') || b.row_digests), false) END)::boolean AS intact,
       (SELECT count(*) FROM compared WHERE state = 'verified') AS verified,
       ARRAY(SELECT c.id FROM compared c WHERE c.state = 'changed' ORDER BY c.id)::bigint[] AS changed,
       ARRAY(SELECT c.id FROM compared c WHERE c.state = 'removed' ORDER BY c.id)::bigint[] AS removed,
       ARRAY(SELECT c.id FROM compared c WHERE c.state = 'inserted' ORDER BY c.id)::bigint[] AS inserted
FROM block b;

-- How many rows are not sealed yet.
-- name: AuditUnsealed :one
SELECT count(*) FROM audit_log
WHERE id > coalesce((SELECT last_id FROM audit_seal ORDER BY seal_no DESC LIMIT 1), '-9223372036854775808'::bigint);
