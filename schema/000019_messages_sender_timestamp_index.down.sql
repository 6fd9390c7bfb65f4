CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_sender_timestamp ON messages (sender, timestamp);
