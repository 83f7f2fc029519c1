-- name: settings
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes') OR name = 'synchronous_commit'

-- name: rows
-- Every thread or log behind a thread id, in the order of ids.
SELECT coalesce(thread.thread_id, log.thread_id)::text,
    thread.record, thread.version, log.position, log.base_thread_id::text, log.base_position,
    log.holder, log.expires_at <= now(),
    thread.created_at, thread.updated_at, thread.recency_at, thread.archived_at,
    thread.parent_thread_id::text, thread.cwd, thread.model_provider, thread.source_kind,
    thread.source_custom, thread.displayable, thread.search_text
FROM (
    SELECT * FROM threadstore.threads WHERE tenant = %(tenant)s AND thread_id > %(after)s::uuid
    ORDER BY thread_id LIMIT %(limit)s
) AS thread
FULL JOIN (
    SELECT * FROM threadstore.thread_logs WHERE tenant = %(tenant)s AND thread_id > %(after)s::uuid
    ORDER BY thread_id LIMIT %(limit)s
) AS log USING (thread_id)
ORDER BY 1
LIMIT %(limit)s

-- name: bases
SELECT thread_id::text, position FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])
