-- Row-level security, a second barrier under the rules of the store: whoever does not own the tables sees and writes only
-- what a policy gives to its role. The owner pays nothing for it (ENABLE, not FORCE). Roles belong to the whole server, so
-- that no migration makes them: `sharedcontext access grant` makes a service and a reader, with their policies.
--
-- The policy made here takes away only: where a session names a reader, as store.AsReader does, it removes no row, whatever
-- role it has got back to; what a service adds and changes then, its own policies decide. The roles of Supabase's API lose
-- the rights that its default privileges have given them: what row-level security does not cover, TRUNCATE for one, is
-- closed to them as well.
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
    relation text;
    api_role text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['schema_migrations', 'schema_version', 'sessions', 'message_keys', 'messages', 'agent_memory',
                                    'secure_tokens', 'audit_log', 'audit_seal', 'audit_seal_horizon']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', relation);
        EXECUTE format('CREATE POLICY readers_remove_nothing ON %I AS RESTRICTIVE FOR DELETE '
            'USING (coalesce((SELECT current_setting(''sharedcontext.agent_id'', true)), '''') = '''')', relation);
    END LOOP;

    FOR api_role IN SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        EXECUTE format('REVOKE ALL ON schema_migrations, schema_version, sessions, message_keys, messages, agent_memory, secure_tokens, '
            'audit_log, audit_seal, audit_seal_horizon, active_sessions_with_activity, agent_memory_summary, audit_activity_summary '
            'FROM %I', api_role);
        FOREACH relation IN ARRAY ARRAY['messages', 'agent_memory', 'audit_log', 'secure_tokens'] LOOP
            EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %I', pg_catalog.pg_get_serial_sequence(relation, 'id'), api_role);
        END LOOP;
    END LOOP;
END;
$$;

INSERT INTO schema_version (version, description)
VALUES (34, 'Row-level security on every table')
ON CONFLICT (version) DO NOTHING;
