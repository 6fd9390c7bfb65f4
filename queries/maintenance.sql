-- The applied migration and what the schema holds, as schema/objects.txt lists it. Fails with undefined_table where
-- migrations never ran.
-- name: SchemaState :one
SELECT version, dirty, ARRAY(
    SELECT object
    FROM (
        SELECT format('%s %s', CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, c.relname)
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v')
        UNION ALL
        SELECT format('column %s.%s %s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                      CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || CASE WHEN a.atthasdef THEN ' default' ELSE '' END)
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        UNION ALL
        SELECT replace(pg_get_indexdef(c.oid), format(' ON %I.', current_schema()), ' ON ')
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid AND i.indisvalid
        WHERE c.relnamespace = current_schema()::regnamespace
        UNION ALL
        -- A check may be written in other words in a database of the first generation; its name tells what it is.
        SELECT format('constraint %s on %s%s', o.conname, c.relname, CASE o.contype
                   WHEN 'c' THEN ''
                   ELSE ' ' || replace(pg_get_constraintdef(o.oid), format('REFERENCES %I.', current_schema()), 'REFERENCES ') END)
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_constraint o ON o.conrelid = c.oid AND o.contype IN ('c', 'f', 'p', 'u') AND o.convalidated
        WHERE c.relnamespace = current_schema()::regnamespace
        UNION ALL
        SELECT format('trigger %s on %s', t.tgname, c.relname)
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
        WHERE c.relnamespace = current_schema()::regnamespace
        UNION ALL
        SELECT format('row security on %s', c.relname)
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relrowsecurity
    ) AS found (object)
)::text[] AS objects
FROM schema_migrations
-- The one of this schema, not another that search_path finds as well.
WHERE schema_migrations.tableoid IN (
    SELECT c.oid FROM pg_catalog.pg_class c
    WHERE c.relname = 'schema_migrations' AND c.relnamespace = current_schema()::regnamespace
);

-- Whether row-level security keeps what SchemaState reads from this role.
-- name: SchemaHidden :one
SELECT coalesce(row_security_active(to_regclass('schema_migrations')::oid), false)::boolean AS hidden;

-- The first generation's own record of its schema, 0 when it has none.
-- name: SchemaVersion :one
SELECT coalesce(max(version), 0)::integer FROM schema_version;

-- Size of the database in bytes and the number of connections to it, this one included.
-- name: DatabaseHealth :one
SELECT pg_database_size(current_database()) AS size_bytes,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity
        WHERE datname = current_database() AND usesysid IS NOT NULL) AS connection_count;

-- Deletes one batch of expired memory; rows that another process is deleting are left to it.
-- name: MemoryDeleteExpired :execrows
DELETE FROM agent_memory
WHERE id IN (
    SELECT id FROM agent_memory WHERE expires_at <= coalesce(sqlc.narg('now')::timestamptz, now())
    ORDER BY expires_at LIMIT @max_rows FOR UPDATE SKIP LOCKED
);

-- Deletes one batch of audit rows older than a time, with an audit row that says so, by which AuditSealVerify knows them
-- from rows that somebody else has removed; rows that another process is deleting are left to it.
-- name: AuditDeleteBefore :one
WITH deleted AS (
    DELETE FROM audit_log
    WHERE id IN (
        SELECT id FROM audit_log WHERE timestamp < @before::timestamptz
        ORDER BY timestamp LIMIT @max_rows FOR UPDATE SKIP LOCKED
    )
    RETURNING id
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, metadata)
    SELECT 'audit_expired', 'system',
           jsonb_build_object('before', (extract(epoch FROM @before::timestamptz) * 1000000)::bigint, 'rows', count(*))
    FROM deleted
    HAVING count(*) > 0
)
SELECT count(*) FROM deleted;

-- Lets the rest of a transaction take longer than a request may.
-- name: StatementTimeoutOff :exec
SELECT set_config('statement_timeout', '0', true);

-- Locks one batch of inactive sessions that nothing has happened in since a time, from a key on; those that somebody
-- writes to or deletes at the moment are left out. Until the transaction ends no message can be added to them.
-- name: SessionLockUnused :many
SELECT s.id, s.updated_at
FROM sessions s
WHERE NOT s.is_active
  AND s.updated_at < @before::timestamptz
  AND (s.updated_at, s.id) > (@after_updated_at::timestamptz, @after_id::text)
  AND NOT EXISTS (SELECT FROM messages m WHERE m.session_id = s.id AND m.timestamp >= @before::timestamptz)
ORDER BY s.updated_at, s.id
LIMIT @max_rows
FOR UPDATE SKIP LOCKED;

-- Deletes those of the locked sessions that are still unused, with an audit row each. The messages are looked at again:
-- one that was committed between the snapshot of the lock and the lock itself is seen only now.
-- name: SessionDeleteUnused :one
WITH deleted AS (
    DELETE FROM sessions s
    WHERE s.id = ANY (@ids::text[])
      AND NOT s.is_active
      AND NOT EXISTS (SELECT FROM messages m WHERE m.session_id = s.id AND m.timestamp >= @before::timestamptz)
    RETURNING s.id
), audit AS (
    INSERT INTO audit_log (event_type, agent_id, resource)
    SELECT 'session_deleted', 'system', id FROM deleted
)
SELECT count(*) FROM deleted;
