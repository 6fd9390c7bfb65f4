SET LOCAL lock_timeout = '5s';

CREATE INDEX idx_agent_memory_lookup ON agent_memory (agent_id, session_id, key);
CREATE INDEX idx_token_id ON secure_tokens (token_id);

COMMENT ON INDEX idx_messages_session_order IS NULL;
COMMENT ON INDEX idx_messages_sender_timestamp IS NULL;
COMMENT ON INDEX idx_messages_visibility_session IS NULL;
COMMENT ON INDEX idx_messages_parent_id IS NULL;
COMMENT ON INDEX idx_messages_sender_type IS NULL;
COMMENT ON INDEX idx_messages_metadata_gin IS NULL;
COMMENT ON INDEX idx_agent_memory_unique_global IS NULL;
COMMENT ON INDEX idx_agent_memory_agent_global IS NULL;
COMMENT ON INDEX idx_agent_memory_expiry IS NULL;
COMMENT ON INDEX idx_agent_memory_session IS NULL;
COMMENT ON INDEX idx_agent_memory_metadata_gin IS NULL;
COMMENT ON INDEX idx_audit_log_timestamp IS NULL;
COMMENT ON INDEX idx_audit_log_agent_time IS NULL;
COMMENT ON INDEX idx_audit_log_session_time IS NULL;
COMMENT ON INDEX idx_audit_log_event_type IS NULL;
COMMENT ON INDEX idx_audit_log_metadata_gin IS NULL;
COMMENT ON INDEX idx_sessions_created_by IS NULL;
COMMENT ON INDEX idx_sessions_active IS NULL;
COMMENT ON INDEX idx_sessions_updated_at IS NULL;
COMMENT ON INDEX idx_sessions_metadata_gin IS NULL;
COMMENT ON INDEX idx_agent_expires IS NULL;
COMMENT ON INDEX idx_expires_cleanup IS NULL;

DELETE FROM schema_version WHERE version IN (5, 6, 7);
