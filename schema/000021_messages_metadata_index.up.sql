-- No operation filters by metadata, and every message paid for it: docs/performance.md.
DROP INDEX CONCURRENTLY IF EXISTS idx_messages_metadata_gin;
