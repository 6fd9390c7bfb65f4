-- Names a reader to the policies of row-level security and takes the role that they are for, to the end of the transaction
-- or savepoint, and says whether they hold for it.
-- name: ReaderEnter :one
SELECT set_config('sharedcontext.agent_id', @agent_id::text, true)::text AS agent_id,
       set_config('sharedcontext.agent_type', @agent_type::text, true)::text AS agent_type,
       set_config('sharedcontext.admin', @admin::text, true)::text AS admin,
       set_config('role', @role::text, true)::text AS role,
       row_security_active('messages')::boolean AS secured;

-- The role of this connection, and whether it may become the reader.
-- name: AccessRole :one
SELECT r.rolname::text AS role, r.rolsuper::boolean AS superuser, r.rolbypassrls::boolean AS bypasses_row_security,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::boolean AS may_create,
       EXISTS (SELECT FROM pg_catalog.pg_roles reader WHERE reader.rolname = @reader_role::text) AS reader_exists,
       coalesce((
           SELECT pg_has_role(reader.oid, CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)
           FROM pg_catalog.pg_roles reader
           WHERE reader.rolname = @reader_role::text
       ), false)::boolean AS may_read_as
FROM pg_catalog.pg_roles r
WHERE r.rolname = current_user;

-- What the role of this connection may do with tables: its rights, and where row-level security holds for it, the commands
-- that a policy lets it do, by the letters of pg_policy.
-- name: AccessTableList :many
SELECT c.relname::text AS name,
       has_table_privilege(c.oid, 'SELECT')::boolean AS may_select,
       has_table_privilege(c.oid, 'INSERT')::boolean AS may_insert,
       has_table_privilege(c.oid, 'DELETE')::boolean AS may_delete,
       has_table_privilege(c.oid, 'TRUNCATE')::boolean AS may_truncate,
       ARRAY(
           SELECT a.attname
           FROM pg_catalog.pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'UPDATE')
           ORDER BY a.attnum
       )::text[] AS may_update,
       pg_has_role(c.relowner, 'USAGE')::boolean AS owned,
       c.relrowsecurity AS row_security,
       row_security_active(c.oid)::boolean AS restricted,
       ARRAY(
           SELECT p.polcmd
           FROM pg_catalog.pg_policy p
           WHERE p.polrelid = c.oid AND p.polpermissive
             AND EXISTS (SELECT FROM unnest(p.polroles) AS of (role) WHERE of.role = 0 OR pg_has_role(of.role, 'USAGE'))
       )::text[] AS policies
FROM pg_catalog.pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relname = ANY (@tables::text[]);
