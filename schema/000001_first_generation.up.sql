-- The schema of the first generation, as its PostgreSQL databases hold it (schema_version 3). Such a database is
-- adopted by recording this migration as applied; it never runs there. Later migrations mend its weaknesses.
SET LOCAL lock_timeout = '5s';

CREATE TABLE sessions (
    id varchar(255) PRIMARY KEY,
    purpose text NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    is_active boolean DEFAULT true,
    created_by varchar(255) NOT NULL,
    metadata jsonb,
    CONSTRAINT sessions_purpose_not_empty CHECK (length(trim(purpose)) > 0),
    CONSTRAINT sessions_created_by_not_empty CHECK (length(trim(created_by)) > 0)
);

CREATE TABLE messages (
    id bigserial PRIMARY KEY,
    session_id varchar(255) NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    sender varchar(255) NOT NULL,
    sender_type varchar(50) DEFAULT 'generic',
    content text NOT NULL,
    visibility varchar(20) DEFAULT 'public'
        CHECK (visibility IN ('public', 'private', 'agent_only', 'admin_only')),
    message_type varchar(50) DEFAULT 'agent_response',
    metadata jsonb,
    timestamp timestamptz DEFAULT now(),
    parent_message_id bigint REFERENCES messages (id) ON DELETE SET NULL,
    CONSTRAINT messages_session_id_not_empty CHECK (length(trim(session_id)) > 0),
    CONSTRAINT messages_sender_not_empty CHECK (length(trim(sender)) > 0),
    CONSTRAINT messages_sender_type_not_empty CHECK (length(trim(sender_type)) > 0),
    CONSTRAINT messages_content_not_empty CHECK (length(trim(content)) > 0),
    CONSTRAINT messages_content_length CHECK (length(content) <= 100000)
);

CREATE TABLE agent_memory (
    id bigserial PRIMARY KEY,
    agent_id varchar(255) NOT NULL,
    session_id varchar(255) REFERENCES sessions (id) ON DELETE CASCADE, -- null: global memory of the agent
    key varchar(255) NOT NULL,
    value text NOT NULL,
    metadata jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    expires_at timestamptz,
    UNIQUE (agent_id, session_id, key),
    CONSTRAINT agent_memory_agent_id_not_empty CHECK (length(trim(agent_id)) > 0),
    CONSTRAINT agent_memory_key_not_empty CHECK (length(trim(key)) > 0),
    CONSTRAINT agent_memory_key_length CHECK (length(key) <= 255),
    CONSTRAINT agent_memory_value_not_empty CHECK (length(trim(value)) > 0),
    CONSTRAINT agent_memory_expires_at_future CHECK (expires_at IS NULL OR expires_at > created_at)
);

CREATE TABLE audit_log (
    id bigserial PRIMARY KEY,
    timestamp timestamptz DEFAULT now(),
    event_type varchar(100) NOT NULL,
    agent_id varchar(255) NOT NULL,
    session_id varchar(255) REFERENCES sessions (id) ON DELETE SET NULL,
    resource varchar(255),
    action varchar(100),
    result varchar(100),
    metadata jsonb,
    CONSTRAINT audit_log_event_type_not_empty CHECK (length(trim(event_type)) > 0),
    CONSTRAINT audit_log_agent_id_not_empty CHECK (length(trim(agent_id)) > 0)
);

CREATE TABLE secure_tokens (
    id bigserial PRIMARY KEY,
    token_id varchar(255) UNIQUE NOT NULL,
    encrypted_jwt bytea NOT NULL,
    agent_id varchar(255) NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT now(),
    CONSTRAINT secure_tokens_agent_id_not_empty CHECK (length(trim(agent_id)) > 0),
    CONSTRAINT secure_tokens_token_id_not_empty CHECK (length(trim(token_id)) > 0)
);

CREATE TABLE schema_version (
    version integer PRIMARY KEY,
    applied_at timestamptz DEFAULT now(),
    description text
);

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = CURRENT_TIMESTAMP;
    RETURN NEW;
END;
$$;

CREATE TRIGGER sessions_updated_at_trigger BEFORE UPDATE ON sessions
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER agent_memory_updated_at_trigger BEFORE UPDATE ON agent_memory
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

CREATE INDEX idx_messages_session_id ON messages (session_id);
CREATE INDEX idx_messages_session_time ON messages (session_id, timestamp);
CREATE INDEX idx_messages_sender_timestamp ON messages (sender, timestamp);
CREATE INDEX idx_messages_visibility_session ON messages (visibility, session_id);
CREATE INDEX idx_messages_parent_id ON messages (parent_message_id) WHERE parent_message_id IS NOT NULL;
CREATE INDEX idx_messages_sender_type ON messages (sender_type, timestamp);
CREATE INDEX idx_messages_metadata_gin ON messages USING gin (metadata);

CREATE INDEX idx_agent_memory_lookup ON agent_memory (agent_id, session_id, key);
CREATE INDEX idx_agent_memory_agent_global ON agent_memory (agent_id) WHERE session_id IS NULL;
CREATE INDEX idx_agent_memory_expiry ON agent_memory (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX idx_agent_memory_session ON agent_memory (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX idx_agent_memory_metadata_gin ON agent_memory USING gin (metadata);

CREATE INDEX idx_audit_log_timestamp ON audit_log (timestamp);
CREATE INDEX idx_audit_log_agent_time ON audit_log (agent_id, timestamp);
CREATE INDEX idx_audit_log_session_time ON audit_log (session_id, timestamp) WHERE session_id IS NOT NULL;
CREATE INDEX idx_audit_log_event_type ON audit_log (event_type, timestamp);
CREATE INDEX idx_audit_log_metadata_gin ON audit_log USING gin (metadata);

CREATE INDEX idx_sessions_created_by ON sessions (created_by);
CREATE INDEX idx_sessions_active ON sessions (is_active) WHERE is_active = true;
CREATE INDEX idx_sessions_updated_at ON sessions (updated_at);
CREATE INDEX idx_sessions_metadata_gin ON sessions USING gin (metadata);

CREATE INDEX idx_token_id ON secure_tokens (token_id);
CREATE INDEX idx_agent_expires ON secure_tokens (agent_id, expires_at);
CREATE INDEX idx_expires_cleanup ON secure_tokens (expires_at);

CREATE VIEW active_sessions_with_activity AS
SELECT s.id, s.purpose, s.created_at, s.updated_at, s.is_active, s.created_by, s.metadata,
       count(m.id) AS message_count,
       max(m.timestamp) AS last_message_at,
       count(DISTINCT m.sender) AS unique_agents
FROM sessions s
LEFT JOIN messages m ON m.session_id = s.id
WHERE s.is_active = true
GROUP BY s.id
ORDER BY max(m.timestamp) DESC NULLS LAST;

CREATE VIEW agent_memory_summary AS
SELECT agent_id,
       count(*) AS total_entries,
       count(*) FILTER (WHERE session_id IS NULL) AS global_entries,
       count(*) FILTER (WHERE session_id IS NOT NULL) AS session_entries,
       count(*) FILTER (WHERE expires_at IS NOT NULL) AS expiring_entries,
       min(created_at) AS first_entry,
       max(updated_at) AS last_updated
FROM agent_memory
GROUP BY agent_id
ORDER BY count(*) DESC;

CREATE VIEW audit_activity_summary AS
SELECT agent_id, event_type, count(*) AS event_count, min(timestamp) AS first_event, max(timestamp) AS last_event
FROM audit_log
GROUP BY agent_id, event_type
ORDER BY agent_id, count(*) DESC;

INSERT INTO schema_version (version, description)
VALUES (3, 'Schema of the first generation: five tables with encrypted tokens');
