-- Drops the whole schema, rows included: `sharedcontext migrate down` asks for a confirmation before it comes here.
SET LOCAL lock_timeout = '5s';

DROP VIEW active_sessions_with_activity, agent_memory_summary, audit_activity_summary;
DROP TABLE schema_version, secure_tokens, audit_log, agent_memory, messages, sessions;
DROP FUNCTION update_updated_at_column();
