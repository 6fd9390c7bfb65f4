-- No operation filters by metadata.
DROP INDEX CONCURRENTLY IF EXISTS idx_agent_memory_metadata_gin;
