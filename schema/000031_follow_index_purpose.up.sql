-- Says what the new index is for, and writes the row of the file before, which holds one statement only.
SET LOCAL lock_timeout = '5s';

COMMENT ON INDEX idx_messages_follow_order IS 'what a follower of a session has not seen yet';

INSERT INTO schema_version (version, description)
VALUES (32, 'Messages: index in the order of following'),
       (33, 'Messages: purpose of the index in the order of following')
ON CONFLICT (version) DO NOTHING;
