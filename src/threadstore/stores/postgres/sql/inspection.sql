-- name: settings
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes') OR name = 'synchronous_commit'

-- name: threads
SELECT thread_id::text, record, version,
    created_at, updated_at, recency_at, archived_at, parent_thread_id::text, cwd, model_provider,
    model, git_origin, source_kind, source_custom, displayable, search_text
FROM threadstore.threads
WHERE tenant = %(tenant)s AND thread_id > %(after)s::uuid
ORDER BY thread_id
LIMIT %(limit)s

-- name: heads
SELECT thread_id::text, position, base_thread_id::text, base_position, holder, expires_at <= now()
FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id > %(after)s::uuid
ORDER BY thread_id
LIMIT %(limit)s

-- name: bases
SELECT thread_id::text, position FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])
