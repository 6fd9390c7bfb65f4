SET LOCAL lock_timeout = '5s';

COMMENT ON INDEX idx_messages_visibility_session IS 'counts of a session by visibility';
COMMENT ON INDEX idx_messages_sender_timestamp IS 'messages by sender';
COMMENT ON INDEX idx_messages_sender_type IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_messages_metadata_gin IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_audit_log_metadata_gin IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_agent_memory_metadata_gin IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_agent_memory_agent_global IS 'list of the global memory of an agent';
COMMENT ON INDEX idx_sessions_created_by IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_sessions_metadata_gin IS 'no operation; kept for SQL of services';
COMMENT ON INDEX idx_agent_expires IS 'tokens of an agent';

DELETE FROM schema_version WHERE version BETWEEN 16 AND 19;
