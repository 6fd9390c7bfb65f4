-- Messages by sender are read within a session, by idx_messages_sender_order.
DROP INDEX CONCURRENTLY IF EXISTS idx_messages_sender_timestamp;
