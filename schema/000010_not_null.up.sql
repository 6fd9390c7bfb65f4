SET LOCAL lock_timeout = '5s';

ALTER TABLE sessions
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL,
    ALTER COLUMN is_active SET NOT NULL;
ALTER TABLE messages
    ALTER COLUMN sender_type SET NOT NULL,
    ALTER COLUMN visibility SET NOT NULL,
    ALTER COLUMN message_type SET NOT NULL,
    ALTER COLUMN timestamp SET NOT NULL;
ALTER TABLE agent_memory
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL;
ALTER TABLE audit_log
    ALTER COLUMN timestamp SET NOT NULL;
ALTER TABLE secure_tokens
    ALTER COLUMN created_at SET NOT NULL;
ALTER TABLE schema_version
    ALTER COLUMN applied_at SET NOT NULL;

ALTER TABLE sessions
    DROP CONSTRAINT sessions_created_at_present,
    DROP CONSTRAINT sessions_updated_at_present,
    DROP CONSTRAINT sessions_is_active_present;
ALTER TABLE messages
    DROP CONSTRAINT messages_sender_type_present,
    DROP CONSTRAINT messages_visibility_present,
    DROP CONSTRAINT messages_message_type_present,
    DROP CONSTRAINT messages_timestamp_present;
ALTER TABLE agent_memory
    DROP CONSTRAINT agent_memory_created_at_present,
    DROP CONSTRAINT agent_memory_updated_at_present;
ALTER TABLE audit_log
    DROP CONSTRAINT audit_log_timestamp_present;
ALTER TABLE secure_tokens
    DROP CONSTRAINT secure_tokens_created_at_present;
ALTER TABLE schema_version
    DROP CONSTRAINT schema_version_applied_at_present;

-- A function or view that resolves names by the caller's search_path, or runs with its owner's rights, is a way around
-- the caller's. Views could not give this up before PostgreSQL 15.
ALTER FUNCTION update_updated_at_column() SET search_path = '';
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'ALTER VIEW active_sessions_with_activity SET (security_invoker = true)';
        EXECUTE 'ALTER VIEW agent_memory_summary SET (security_invoker = true)';
        EXECUTE 'ALTER VIEW audit_activity_summary SET (security_invoker = true)';
    END IF;
END;
$$;

INSERT INTO schema_version (version, description)
VALUES (12, 'NOT NULL where a value is always there; function and views resolve names and rights safely')
ON CONFLICT (version) DO NOTHING;
