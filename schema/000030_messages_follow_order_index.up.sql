-- A follower reads what is new in its session from the end of this index, whatever else was written.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_follow_order ON messages (session_id, transaction_id, id);
