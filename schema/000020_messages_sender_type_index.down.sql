CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_sender_type ON messages (sender_type, timestamp);
