SET LOCAL lock_timeout = '5s';

ALTER TABLE sessions
    DROP CONSTRAINT IF EXISTS sessions_created_at_present,
    DROP CONSTRAINT IF EXISTS sessions_updated_at_present,
    DROP CONSTRAINT IF EXISTS sessions_is_active_present;
ALTER TABLE messages
    DROP CONSTRAINT IF EXISTS messages_sender_type_present,
    DROP CONSTRAINT IF EXISTS messages_visibility_present,
    DROP CONSTRAINT IF EXISTS messages_message_type_present,
    DROP CONSTRAINT IF EXISTS messages_timestamp_present;
ALTER TABLE agent_memory
    DROP CONSTRAINT IF EXISTS agent_memory_created_at_present,
    DROP CONSTRAINT IF EXISTS agent_memory_updated_at_present;
ALTER TABLE audit_log
    DROP CONSTRAINT IF EXISTS audit_log_timestamp_present;
ALTER TABLE secure_tokens
    DROP CONSTRAINT IF EXISTS secure_tokens_created_at_present;
ALTER TABLE schema_version
    DROP CONSTRAINT IF EXISTS schema_version_applied_at_present;

DELETE FROM schema_version WHERE version IN (8, 9, 10);
