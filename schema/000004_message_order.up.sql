-- Messages are ordered by (timestamp, id): two messages of the same instant have an order, and a page continues by key.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_session_order ON messages (session_id, timestamp, id);
