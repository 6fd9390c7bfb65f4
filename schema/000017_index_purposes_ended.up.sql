-- The files that follow drop ten indexes, one each. Their comments end here, as the way back of those files, one statement
-- each, could not write them again.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF (SELECT count(*) FROM pg_catalog.pg_index
        WHERE indisvalid AND indexrelid IN (to_regclass('idx_messages_visible_order'), to_regclass('idx_messages_sender_order'),
                                            to_regclass('idx_messages_kin_order'))) < 3
    THEN
        RAISE EXCEPTION 'idx_messages_visible_order, idx_messages_sender_order or idx_messages_kin_order is missing or invalid'
            USING HINT = 'drop all three, force the schema back to migration 13 and migrate up: they are then built anew';
    END IF;
END;
$$;

COMMENT ON INDEX idx_messages_visibility_session IS NULL;
COMMENT ON INDEX idx_messages_sender_timestamp IS NULL;
COMMENT ON INDEX idx_messages_sender_type IS NULL;
COMMENT ON INDEX idx_messages_metadata_gin IS NULL;
COMMENT ON INDEX idx_audit_log_metadata_gin IS NULL;
COMMENT ON INDEX idx_agent_memory_metadata_gin IS NULL;
COMMENT ON INDEX idx_agent_memory_agent_global IS NULL;
COMMENT ON INDEX idx_sessions_created_by IS NULL;
COMMENT ON INDEX idx_sessions_metadata_gin IS NULL;
COMMENT ON INDEX idx_agent_expires IS NULL;

INSERT INTO schema_version (version, description)
VALUES (16, 'Messages: index in the order of reading for each level of visibility'),
       (17, 'Messages: index in the order of reading for each sender'),
       (18, 'Messages: index in the order of reading for each kind of sender'),
       (19, 'Messages, audit log, memory, sessions and tokens: indexes that do not pay lose their purpose')
ON CONFLICT (version) DO NOTHING;
