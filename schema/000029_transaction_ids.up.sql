-- Which transaction wrote a message, or last wrote an entry of memory. Whoever follows a session asks for what was written
-- by transactions that had not ended when it asked before: ids and times are given before a transaction ends, in another
-- order. The default is the same for all rows that are there, so that none is rewritten.
SET LOCAL lock_timeout = '5s';

ALTER TABLE messages ADD COLUMN transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id();
ALTER TABLE agent_memory ADD COLUMN transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id();

CREATE FUNCTION update_transaction_id_column() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    NEW.transaction_id = pg_current_xact_id();
    RETURN NEW;
END;
$$;

CREATE TRIGGER agent_memory_transaction_id_trigger BEFORE UPDATE ON agent_memory
    FOR EACH ROW EXECUTE FUNCTION update_transaction_id_column();

INSERT INTO schema_version (version, description)
VALUES (31, 'Messages and memory: the transaction that wrote a row, for followers')
ON CONFLICT (version) DO NOTHING;
