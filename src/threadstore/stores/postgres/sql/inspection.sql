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

-- name: orphaned_texts
SELECT DISTINCT text.thread_id::text
FROM threadstore.thread_texts AS text
LEFT JOIN threadstore.threads AS thread
    ON thread.tenant = text.tenant AND thread.thread_id = text.thread_id
LEFT JOIN threadstore.thread_logs AS log
    ON log.tenant = text.tenant AND log.thread_id = text.thread_id
WHERE text.tenant = %(tenant)s AND thread.thread_id IS NULL AND log.thread_id IS NULL

-- name: stale_texts
-- Logs that are shorter than what is indexed of them, or longer although they are not pending.
SELECT log.thread_id::text
FROM threadstore.thread_logs AS log
LEFT JOIN threadstore.thread_text_marks AS mark
    ON mark.tenant = log.tenant AND mark.thread_id = log.thread_id
WHERE log.tenant = %(tenant)s AND log.position > log.base_position
    AND (
        mark.position > log.position
        OR (NOT log.texts_pending AND coalesce(mark.position, 0) < log.position)
    )

-- name: forget_texts
DELETE FROM threadstore.thread_texts
WHERE tenant = %(tenant)s AND thread_id = %(thread)s

-- name: forget_text_mark
DELETE FROM threadstore.thread_text_marks
WHERE tenant = %(tenant)s AND thread_id = %(thread)s

-- name: index_again
UPDATE threadstore.thread_logs
SET texts_pending = true
WHERE tenant = %(tenant)s AND thread_id = %(thread)s
