-- name: read
SELECT record, version FROM threadstore.threads
WHERE tenant = %(tenant)s AND thread_id = %(thread)s

-- name: create
INSERT INTO threadstore.threads (
    tenant, thread_id, version, created_at, updated_at, recency_at, archived_at, parent_thread_id,
    cwd, model_provider, model, git_origin, source_kind, source_custom, displayable, search_text,
    name, record
)
VALUES (
    %(tenant)s, %(thread)s, 1, %(created_at)s, %(updated_at)s, %(recency_at)s, %(archived_at)s,
    %(parent)s, %(cwd)s, %(model_provider)s, %(model)s, %(git_origin)s, %(source_kind)s,
    %(source_custom)s, %(displayable)s, %(search_text)s, %(name)s, %(record)s
)

-- name: update
-- Only if nobody else has changed it since it was read.
UPDATE threadstore.threads
SET version = version + 1,
    created_at = %(created_at)s,
    updated_at = %(updated_at)s,
    recency_at = %(recency_at)s,
    archived_at = %(archived_at)s,
    parent_thread_id = %(parent)s,
    cwd = %(cwd)s,
    model_provider = %(model_provider)s,
    model = %(model)s,
    git_origin = %(git_origin)s,
    source_kind = %(source_kind)s,
    source_custom = %(source_custom)s,
    displayable = %(displayable)s,
    search_text = %(search_text)s,
    name = %(name)s,
    record = %(record)s
WHERE tenant = %(tenant)s AND thread_id = %(thread)s AND version = %(version)s

-- name: children
SELECT thread_id::text FROM threadstore.threads
WHERE tenant = %(tenant)s AND parent_thread_id = ANY(%(threads)s::uuid[])
ORDER BY created_at, thread_id

-- name: lock_family
-- Against writers and forks that come meanwhile, always in the same order.
SELECT thread_id::text, CASE WHEN expires_at > now() THEN holder END
FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])
ORDER BY thread_id
FOR UPDATE

-- name: lock_one
SELECT thread_id::text, CASE WHEN expires_at > now() THEN holder END
FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id = %(thread)s
FOR UPDATE

-- name: read_family
SELECT record, version FROM threadstore.threads
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])

-- name: forks
SELECT base_thread_id::text, thread_id::text FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND base_thread_id = ANY(%(threads)s::uuid[])
    AND thread_id <> ALL(%(threads)s::uuid[])
    AND (position > base_position OR expires_at > now())
LIMIT 1

-- name: delete_receipts
DELETE FROM threadstore.thread_receipts
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])

-- name: delete_texts
DELETE FROM threadstore.thread_texts
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])

-- name: delete_text_marks
DELETE FROM threadstore.thread_text_marks
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])

-- name: delete_items
DELETE FROM threadstore.thread_items
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])

-- name: delete_logs
DELETE FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])

-- name: delete_threads
DELETE FROM threadstore.threads
WHERE tenant = %(tenant)s AND thread_id = ANY(%(threads)s::uuid[])
