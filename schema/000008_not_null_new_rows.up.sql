-- Columns that always have a value were nullable. From here on no new row leaves one empty; 000009 fills the old rows and
-- proves them, and 000010 turns the proof into NOT NULL without another scan. Three files, because each lock ends with
-- its transaction: none of them blocks writers while a table is read.
SET LOCAL lock_timeout = '5s';

ALTER TABLE sessions
    ADD CONSTRAINT sessions_created_at_present CHECK (created_at IS NOT NULL) NOT VALID,
    ADD CONSTRAINT sessions_updated_at_present CHECK (updated_at IS NOT NULL) NOT VALID,
    ADD CONSTRAINT sessions_is_active_present CHECK (is_active IS NOT NULL) NOT VALID;
ALTER TABLE messages
    ADD CONSTRAINT messages_sender_type_present CHECK (sender_type IS NOT NULL) NOT VALID,
    ADD CONSTRAINT messages_visibility_present CHECK (visibility IS NOT NULL) NOT VALID,
    ADD CONSTRAINT messages_message_type_present CHECK (message_type IS NOT NULL) NOT VALID,
    ADD CONSTRAINT messages_timestamp_present CHECK (timestamp IS NOT NULL) NOT VALID;
ALTER TABLE agent_memory
    ADD CONSTRAINT agent_memory_created_at_present CHECK (created_at IS NOT NULL) NOT VALID,
    ADD CONSTRAINT agent_memory_updated_at_present CHECK (updated_at IS NOT NULL) NOT VALID;
ALTER TABLE audit_log
    ADD CONSTRAINT audit_log_timestamp_present CHECK (timestamp IS NOT NULL) NOT VALID;
ALTER TABLE secure_tokens
    ADD CONSTRAINT secure_tokens_created_at_present CHECK (created_at IS NOT NULL) NOT VALID;
ALTER TABLE schema_version
    ADD CONSTRAINT schema_version_applied_at_present CHECK (applied_at IS NOT NULL) NOT VALID;

INSERT INTO schema_version (version, description)
VALUES (8, 'Messages: index on session_id removed'),
       (9, 'Messages: index on session_id and timestamp removed'),
       (10, 'New rows have a value in every column that always has one')
ON CONFLICT (version) DO NOTHING;
