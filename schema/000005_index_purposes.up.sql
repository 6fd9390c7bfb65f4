-- Says of each index what it is for (`\di+` shows it) and drops two that only cost: each is served as well by the unique
-- constraint on the same columns. Their twins on messages follow in files of their own. An index without an operation
-- stays for now: services may filter on it with SQL of their own.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_catalog.pg_index
        WHERE indisvalid AND indexrelid IN (to_regclass('idx_agent_memory_unique_global'), to_regclass('idx_messages_session_order'))) < 2
    THEN
        RAISE EXCEPTION 'idx_agent_memory_unique_global or idx_messages_session_order is missing or invalid'
            USING HINT = 'drop both, force the schema back to migration 1 and migrate up: they are then built anew';
    END IF;
END;
$$;

DROP INDEX IF EXISTS idx_agent_memory_lookup;
DROP INDEX IF EXISTS idx_token_id;

COMMENT ON INDEX idx_messages_session_order IS 'pages, time ranges, latest messages and counts of one session; foreign key to sessions';
COMMENT ON INDEX idx_messages_sender_timestamp IS 'messages by sender';
COMMENT ON INDEX idx_messages_visibility_session IS 'counts of a session by visibility';
COMMENT ON INDEX idx_messages_parent_id IS 'thread of a message; foreign key to the parent';
COMMENT ON INDEX idx_messages_sender_type IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_messages_metadata_gin IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_agent_memory_unique_global IS 'set and get of global memory, list of global memory by key';
COMMENT ON INDEX idx_agent_memory_agent_global IS 'list of the global memory of an agent';
COMMENT ON INDEX idx_agent_memory_expiry IS 'cleanup of expired memory';
COMMENT ON INDEX idx_agent_memory_session IS 'foreign key to sessions';
COMMENT ON INDEX idx_agent_memory_metadata_gin IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_audit_log_timestamp IS 'audit rows by time; cleanup of old audit rows';
COMMENT ON INDEX idx_audit_log_agent_time IS 'audit rows of an agent; summary by agent';
COMMENT ON INDEX idx_audit_log_session_time IS 'audit rows of a session; foreign key to sessions';
COMMENT ON INDEX idx_audit_log_event_type IS 'audit rows of an event type';
COMMENT ON INDEX idx_audit_log_metadata_gin IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_sessions_created_by IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_sessions_active IS 'list of active sessions';
COMMENT ON INDEX idx_sessions_updated_at IS 'cleanup of inactive sessions';
COMMENT ON INDEX idx_sessions_metadata_gin IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_agent_expires IS 'tokens of an agent';
COMMENT ON INDEX idx_expires_cleanup IS 'cleanup of expired tokens';

-- CREATE INDEX CONCURRENTLY must stand alone in its file, so that the rows of 000003 and 000004 are written here, where
-- both indexes are known to be valid.
INSERT INTO schema_version (version, description)
VALUES (5, 'Global memory: unique index on agent and key'),
       (6, 'Messages: index in the order of reading'),
       (7, 'Memory and tokens: indexes that duplicate a unique constraint removed')
ON CONFLICT (version) DO NOTHING;
