CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_session_time ON messages (session_id, timestamp);
