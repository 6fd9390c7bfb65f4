CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_visibility_session ON messages (visibility, session_id);
