-- No operation filters by metadata.
DROP INDEX CONCURRENTLY IF EXISTS idx_sessions_metadata_gin;
