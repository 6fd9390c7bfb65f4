DROP INDEX CONCURRENTLY IF EXISTS idx_messages_sender_order;
