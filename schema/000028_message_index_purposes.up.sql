-- Says of each new index what it is for, and writes the rows of the files before, of which each holds one statement only.
SET LOCAL lock_timeout = '5s';

COMMENT ON INDEX idx_messages_session_order IS 'counts, search and latest activity of one session; foreign key to sessions';
COMMENT ON INDEX idx_messages_visible_order IS 'pages, time ranges and latest messages of one session that a reader may see';
COMMENT ON INDEX idx_messages_sender_order IS 'messages by sender; in each page, those that only the sender may see';
COMMENT ON INDEX idx_messages_kin_order IS 'in each page, the messages that readers of the sender''s kind may see';
COMMENT ON INDEX idx_agent_memory_unique_global IS 'set, get and list of global memory';

INSERT INTO schema_version (version, description)
VALUES (20, 'Messages: index on visibility and session_id removed'),
       (21, 'Messages: index on sender and timestamp removed'),
       (22, 'Messages: index on sender_type and timestamp removed'),
       (23, 'Messages: index on metadata removed'),
       (24, 'Audit log: index on metadata removed'),
       (25, 'Memory: index on metadata removed'),
       (26, 'Memory: index on agent_id removed'),
       (27, 'Sessions: index on created_by removed'),
       (28, 'Sessions: index on metadata removed'),
       (29, 'Tokens: index on agent_id and expires_at removed'),
       (30, 'Messages: purposes of the new indexes')
ON CONFLICT (version) DO NOTHING;
