-- No operation reads by the kind of the sender alone.
DROP INDEX CONCURRENTLY IF EXISTS idx_messages_sender_type;
