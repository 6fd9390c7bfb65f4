CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS idx_agent_memory_unique_global ON agent_memory (agent_id, key) WHERE session_id IS NULL;
