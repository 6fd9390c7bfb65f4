DROP INDEX CONCURRENTLY IF EXISTS idx_agent_memory_unique_global;
