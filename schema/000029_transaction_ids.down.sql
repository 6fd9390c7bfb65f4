-- A follower that comes back after this has to start anew.
SET LOCAL lock_timeout = '5s';

DROP TRIGGER agent_memory_transaction_id_trigger ON agent_memory;
DROP FUNCTION update_transaction_id_column();
ALTER TABLE agent_memory DROP COLUMN transaction_id;
ALTER TABLE messages DROP COLUMN transaction_id;

DELETE FROM schema_version WHERE version = 31;
