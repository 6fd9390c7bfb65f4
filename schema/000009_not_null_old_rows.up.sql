-- Fills what old rows left empty and proves that nothing is empty any more. A missing time becomes the nearest known one.
-- A missing visibility becomes private: the first generation showed such a message to nobody, and nobody new sees it now.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    -- The trigger on updated_at must not touch rows that are only completed. Disabling it blocks writers, so this happens
    -- only where there is something to fill.
    IF EXISTS (SELECT FROM sessions WHERE created_at IS NULL OR updated_at IS NULL OR is_active IS NULL) THEN
        ALTER TABLE sessions DISABLE TRIGGER sessions_updated_at_trigger;
        UPDATE sessions
        SET created_at = coalesce(created_at, updated_at, now()),
            updated_at = coalesce(updated_at, created_at, now()),
            is_active = coalesce(is_active, false) -- the active list has always left it out
        WHERE created_at IS NULL OR updated_at IS NULL OR is_active IS NULL;
        ALTER TABLE sessions ENABLE TRIGGER sessions_updated_at_trigger;
    END IF;

    IF EXISTS (SELECT FROM agent_memory WHERE created_at IS NULL OR updated_at IS NULL) THEN
        ALTER TABLE agent_memory DISABLE TRIGGER agent_memory_updated_at_trigger;
        UPDATE agent_memory
        SET created_at = coalesce(created_at, least(updated_at, now(), expires_at - interval '1 second')),
            updated_at = coalesce(updated_at, created_at, now())
        WHERE created_at IS NULL OR updated_at IS NULL;
        ALTER TABLE agent_memory ENABLE TRIGGER agent_memory_updated_at_trigger;
    END IF;
END;
$$;

UPDATE messages m
SET sender_type = coalesce(m.sender_type, 'generic'),
    visibility = coalesce(m.visibility, 'private'),
    message_type = coalesce(m.message_type, 'agent_response'),
    timestamp = coalesce(m.timestamp, s.created_at)
FROM sessions s
WHERE s.id = m.session_id
  AND (m.sender_type IS NULL OR m.visibility IS NULL OR m.message_type IS NULL OR m.timestamp IS NULL);

UPDATE audit_log SET timestamp = now() WHERE timestamp IS NULL;
UPDATE secure_tokens SET created_at = least(now(), expires_at) WHERE created_at IS NULL;
UPDATE schema_version SET applied_at = now() WHERE applied_at IS NULL;

ALTER TABLE sessions VALIDATE CONSTRAINT sessions_created_at_present;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_updated_at_present;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_is_active_present;
ALTER TABLE messages VALIDATE CONSTRAINT messages_sender_type_present;
ALTER TABLE messages VALIDATE CONSTRAINT messages_visibility_present;
ALTER TABLE messages VALIDATE CONSTRAINT messages_message_type_present;
ALTER TABLE messages VALIDATE CONSTRAINT messages_timestamp_present;
ALTER TABLE agent_memory VALIDATE CONSTRAINT agent_memory_created_at_present;
ALTER TABLE agent_memory VALIDATE CONSTRAINT agent_memory_updated_at_present;
ALTER TABLE audit_log VALIDATE CONSTRAINT audit_log_timestamp_present;
ALTER TABLE secure_tokens VALIDATE CONSTRAINT secure_tokens_created_at_present;
ALTER TABLE schema_version VALIDATE CONSTRAINT schema_version_applied_at_present;

INSERT INTO schema_version (version, description)
VALUES (11, 'Old rows have a value in every column that always has one')
ON CONFLICT (version) DO NOTHING;
