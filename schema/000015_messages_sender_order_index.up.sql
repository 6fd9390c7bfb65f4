-- The same for the messages of one sender, those that only it may see among them.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_sender_order ON messages (session_id, sender, visibility, timestamp, id);
