-- The unique constraint of agent_memory does not hold for global memory (a null session_id equals no other), so that
-- concurrent writers left duplicates. This keeps the newest row of each; 000003 then makes duplicates impossible.
-- Where a first-generation writer adds a duplicate in between, the build of 000003 fails; the migrator then steps back
-- to before this file and starts over.
SET LOCAL lock_timeout = '5s';

DELETE FROM agent_memory old
USING agent_memory new
WHERE old.session_id IS NULL
  AND new.session_id IS NULL
  AND new.agent_id = old.agent_id
  AND new.key = old.key
  AND (coalesce(new.updated_at, '-infinity'), new.id) > (coalesce(old.updated_at, '-infinity'), old.id);

INSERT INTO schema_version (version, description)
VALUES (4, 'Global memory: one row for each agent and key')
ON CONFLICT (version) DO NOTHING;
