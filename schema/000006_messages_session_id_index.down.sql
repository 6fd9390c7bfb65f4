CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_session_id ON messages (session_id);
