-- A page of what a reader may see is merged from one part of this index for each level of visibility: it reads no message
-- that the reader may not see, however many there are.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_visible_order ON messages (session_id, visibility, timestamp, id);
