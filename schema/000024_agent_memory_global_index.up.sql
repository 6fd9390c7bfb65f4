-- A prefix of idx_agent_memory_unique_global, which serves the same queries.
DROP INDEX CONCURRENTLY IF EXISTS idx_agent_memory_agent_global;
