-- The roles of a shared-context database: a service, which does what the operations of the store do and nothing more, and
-- a reader, which it may become to read as an agent. To be run by the owner of the tables; whoever makes the roles needs
-- CREATEROLE. It may be run again, and each paragraph is a transaction.

BEGIN;
DO $access$
DECLARE
    unfit text;
BEGIN
    IF to_regclass('messages') IS NULL THEN
        RAISE EXCEPTION 'there is no table messages in the schemas %', current_setting('search_path')
            USING HINT = 'run "sharedcontext migrate up" first, or set search_path';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {service name}) THEN
        BEGIN
            CREATE ROLE {service} NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN -- somebody was faster
        END;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {reader name}) THEN
        BEGIN
            CREATE ROLE {reader} NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
        END;
    END IF;
    SELECT r.rolname INTO unfit
    FROM pg_catalog.pg_roles r, pg_catalog.pg_class c
    WHERE r.rolname IN ({service name}, {reader name}) AND c.oid = to_regclass('messages')
      AND (r.rolsuper OR r.rolbypassrls OR pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'));
    IF unfit IS NOT NULL THEN
        RAISE EXCEPTION 'the role % is a superuser, owns the tables or bypasses row-level security, so that nothing can be kept from it', unfit
            USING HINT = 'name a role of its own';
    END IF;
END;
$access$;
COMMIT;

BEGIN;
DO $access$
BEGIN
    IF NOT pg_catalog.pg_has_role({service name}, {reader name}, 'MEMBER') THEN
        EXECUTE format('GRANT %I TO %I', {reader name}, {service name})
            || CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', current_schema(), {service name}, {reader name});
END;
$access$;
COMMIT;

BEGIN;
GRANT USAGE ON SEQUENCE messages_id_seq, agent_memory_id_seq, audit_log_id_seq, secure_tokens_id_seq TO {service};
GRANT EXECUTE ON FUNCTION message_search_text(text, text, jsonb) TO {service}, {reader};
REVOKE ALL ON active_sessions_with_activity, agent_memory_summary, audit_activity_summary FROM {service}, {reader};
GRANT SELECT ON active_sessions_with_activity, agent_memory_summary, audit_activity_summary TO {service};
DO $access$
BEGIN
    -- Before PostgreSQL 15 a view reads with the rights of its owner, who sees everything.
    IF current_setting('server_version_num')::integer >= 150000 THEN
        GRANT SELECT ON active_sessions_with_activity, agent_memory_summary, audit_activity_summary TO {reader};
    END IF;
END;
$access$;
COMMIT;
