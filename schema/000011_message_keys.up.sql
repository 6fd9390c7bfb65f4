-- The keys under which agents have added messages, so that a retried add finds the first. Only adds that give a key
-- write here. The digest tells a retry from another message under the same key.
SET LOCAL lock_timeout = '5s';

CREATE TABLE message_keys (
    session_id varchar(255) NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    key varchar(255) NOT NULL,
    message_id bigint NOT NULL,
    digest bytea NOT NULL,
    timestamp timestamptz NOT NULL,
    PRIMARY KEY (session_id, key)
);

COMMENT ON INDEX message_keys_pkey IS 'the message that was added under a key; foreign key to sessions';

INSERT INTO schema_version (version, description)
VALUES (13, 'Messages: keys that make a retried add find the first')
ON CONFLICT (version) DO NOTHING;
