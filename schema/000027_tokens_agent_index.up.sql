-- No operation reads the tokens of an agent: a token is found by its id.
DROP INDEX CONCURRENTLY IF EXISTS idx_agent_expires;
