-- name: behind
-- Pending logs with lines that are not indexed, and those that need not be pending any more.
SELECT log.thread_id::text, log.position, coalesce(mark.position, 0), mark.state,
    log.holder IS NULL
FROM threadstore.thread_logs AS log
LEFT JOIN threadstore.thread_text_marks AS mark
    ON mark.tenant = log.tenant AND mark.thread_id = log.thread_id
WHERE log.tenant = %(tenant)s AND log.texts_pending AND log.thread_id > %(after)s::uuid
    AND log.position > log.base_position
    AND (mark.position IS NULL OR mark.position < log.position OR log.holder IS NULL)
ORDER BY log.thread_id
LIMIT %(limit)s

-- name: behind_of
-- The same of certain threads.
SELECT log.thread_id::text, log.position, coalesce(mark.position, 0), mark.state,
    log.holder IS NULL
FROM threadstore.thread_logs AS log
LEFT JOIN threadstore.thread_text_marks AS mark
    ON mark.tenant = log.tenant AND mark.thread_id = log.thread_id
WHERE log.tenant = %(tenant)s AND log.texts_pending AND log.thread_id = ANY(%(threads)s::uuid[])
    AND log.position > log.base_position
    AND (mark.position IS NULL OR mark.position < log.position OR log.holder IS NULL)

-- name: advance
-- The texts of the lines behind the mark, and the mark behind them, unless somebody else was faster
-- or the thread is gone. The lock keeps it from being deleted meanwhile; appends do not wait for it.
-- Nor does this wait for a disk: what a crash takes back is indexed again.
WITH there AS (
    SELECT tenant, thread_id, set_config('synchronous_commit', 'off', true)
    FROM threadstore.thread_logs
    WHERE tenant = %(tenant)s AND thread_id = %(thread)s
    FOR KEY SHARE
), moved AS (
    INSERT INTO threadstore.thread_text_marks AS mark (tenant, thread_id, position, state)
    SELECT there.tenant, there.thread_id, %(until)s, %(state)s FROM there
    ON CONFLICT (tenant, thread_id) DO UPDATE
    SET position = excluded.position, state = excluded.state
    WHERE mark.position = %(after)s
    RETURNING mark.tenant, mark.thread_id
), added AS (
    INSERT INTO threadstore.thread_texts (
        tenant, thread_id, position, log_id, role, tool, said_at, words
    )
    SELECT moved.tenant, moved.thread_id, given.position, given.log_id, given.role, given.tool,
        given.said_at, given.words::tsvector
    FROM moved, unnest(
        %(positions)s::bigint[], %(logs)s::text[]::uuid[], %(roles)s::text[], %(tools)s::text[],
        %(moments)s::timestamptz[], %(words)s::text[]
    ) AS given (position, log_id, role, tool, said_at, words)
    ON CONFLICT (tenant, thread_id, position) DO NOTHING
)
SELECT thread_id FROM moved

-- name: clear
-- All but name and title.
DELETE FROM threadstore.thread_texts
WHERE tenant = %(tenant)s AND thread_id = %(thread)s AND position > 0

-- name: settle
-- Logs that are indexed and that nobody writes are pending no more.
WITH done AS (
    SELECT log.thread_id
    FROM threadstore.thread_logs AS log
    JOIN threadstore.thread_text_marks AS mark
        ON mark.tenant = log.tenant AND mark.thread_id = log.thread_id
    WHERE log.tenant = %(tenant)s AND log.thread_id = ANY(%(threads)s::uuid[])
        AND log.holder IS NULL AND log.texts_pending AND mark.position = log.position
    FOR UPDATE OF log SKIP LOCKED
)
UPDATE threadstore.thread_logs AS log
SET texts_pending = false
FROM done
WHERE log.tenant = %(tenant)s AND log.thread_id = done.thread_id

-- name: title
INSERT INTO threadstore.thread_texts (
    tenant, thread_id, position, log_id, role, said_at, words
)
VALUES (
    %(tenant)s, %(thread)s, 0, %(thread)s, %(role)s, %(said_at)s, %(words)s::text::tsvector
)
ON CONFLICT (tenant, thread_id, position) DO UPDATE
SET said_at = excluded.said_at, words = excluded.words

-- name: no_title
DELETE FROM threadstore.thread_texts
WHERE tenant = %(tenant)s AND thread_id = %(thread)s AND position = 0

-- name: lines
SELECT item.thread_id::text, item.position, item.line
FROM threadstore.thread_items AS item
JOIN unnest(%(logs)b::text[]::uuid[], %(positions)b::bigint[]) AS wanted (log_id, position)
    ON item.thread_id = wanted.log_id AND item.position = wanted.position
WHERE item.tenant = %(tenant)s
