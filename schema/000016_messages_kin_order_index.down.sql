DROP INDEX CONCURRENTLY IF EXISTS idx_messages_kin_order;
