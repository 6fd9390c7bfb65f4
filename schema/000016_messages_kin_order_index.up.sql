-- The same for the messages that readers of the sender's kind may see. Other messages do not pay for it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_messages_kin_order ON messages (session_id, sender_type, timestamp, id) WHERE visibility = 'agent_only';
