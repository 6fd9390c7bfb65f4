-- What the fuzzy search compares: sender, content and the true scalar values of the metadata, in lower case. The search
-- index is on it (`sharedcontext search-index build`); store/search_text.go builds the same text in Go. ASCII is folded
-- first and by itself, as a Turkish locale would make another letter of I.
SET LOCAL lock_timeout = '5s';

CREATE FUNCTION message_search_text(sender text, content text, metadata jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = ''
RETURN lower(lower((sender || ' ' || content || CASE WHEN jsonb_typeof(metadata) = 'object' THEN coalesce((
    SELECT string_agg(' ' || (entry.value #>> '{}'), '')
    FROM jsonb_each(metadata) AS entry
    WHERE (jsonb_typeof(entry.value) IN ('string', 'number') AND entry.value NOT IN ('""', '0'))
       OR entry.value = 'true'
), '') ELSE '' END) COLLATE "C") COLLATE "default");

INSERT INTO schema_version (version, description)
VALUES (15, 'The text that the fuzzy search compares')
ON CONFLICT (version) DO NOTHING;
