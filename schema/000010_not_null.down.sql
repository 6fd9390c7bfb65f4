SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        EXECUTE 'ALTER VIEW active_sessions_with_activity RESET (security_invoker)';
        EXECUTE 'ALTER VIEW agent_memory_summary RESET (security_invoker)';
        EXECUTE 'ALTER VIEW audit_activity_summary RESET (security_invoker)';
    END IF;
END;
$$;
ALTER FUNCTION update_updated_at_column() RESET search_path;

ALTER TABLE sessions
    ALTER COLUMN created_at DROP NOT NULL,
    ALTER COLUMN updated_at DROP NOT NULL,
    ALTER COLUMN is_active DROP NOT NULL;
ALTER TABLE messages
    ALTER COLUMN sender_type DROP NOT NULL,
    ALTER COLUMN visibility DROP NOT NULL,
    ALTER COLUMN message_type DROP NOT NULL,
    ALTER COLUMN timestamp DROP NOT NULL;
ALTER TABLE agent_memory
    ALTER COLUMN created_at DROP NOT NULL,
    ALTER COLUMN updated_at DROP NOT NULL;
ALTER TABLE audit_log
    ALTER COLUMN timestamp DROP NOT NULL;
ALTER TABLE secure_tokens
    ALTER COLUMN created_at DROP NOT NULL;
ALTER TABLE schema_version
    ALTER COLUMN applied_at DROP NOT NULL;

ALTER TABLE sessions
    ADD CONSTRAINT sessions_created_at_present CHECK (created_at IS NOT NULL) NOT VALID,
    ADD CONSTRAINT sessions_updated_at_present CHECK (updated_at IS NOT NULL) NOT VALID,
    ADD CONSTRAINT sessions_is_active_present CHECK (is_active IS NOT NULL) NOT VALID;
ALTER TABLE messages
    ADD CONSTRAINT messages_sender_type_present CHECK (sender_type IS NOT NULL) NOT VALID,
    ADD CONSTRAINT messages_visibility_present CHECK (visibility IS NOT NULL) NOT VALID,
    ADD CONSTRAINT messages_message_type_present CHECK (message_type IS NOT NULL) NOT VALID,
    ADD CONSTRAINT messages_timestamp_present CHECK (timestamp IS NOT NULL) NOT VALID;
ALTER TABLE agent_memory
    ADD CONSTRAINT agent_memory_created_at_present CHECK (created_at IS NOT NULL) NOT VALID,
    ADD CONSTRAINT agent_memory_updated_at_present CHECK (updated_at IS NOT NULL) NOT VALID;
ALTER TABLE audit_log
    ADD CONSTRAINT audit_log_timestamp_present CHECK (timestamp IS NOT NULL) NOT VALID;
ALTER TABLE secure_tokens
    ADD CONSTRAINT secure_tokens_created_at_present CHECK (created_at IS NOT NULL) NOT VALID;
ALTER TABLE schema_version
    ADD CONSTRAINT schema_version_applied_at_present CHECK (applied_at IS NOT NULL) NOT VALID;

DELETE FROM schema_version WHERE version = 12;
