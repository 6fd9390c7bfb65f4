SET LOCAL lock_timeout = '5s';

-- The search index, where one was built.
DO $$
DECLARE
    search_index text;
BEGIN
    FOR search_index IN
        SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'messages'::regclass
          AND c.relname LIKE 'idx\_messages\_search\_%'
    LOOP
        EXECUTE 'DROP INDEX ' || search_index;
    END LOOP;
END;
$$;

DROP FUNCTION message_search_text(text, text, jsonb);

DELETE FROM schema_version WHERE version = 15;
