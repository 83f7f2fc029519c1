-- name: head
SELECT position, next_ordinal, base_thread_id::text, base_position, last_batch, epoch,
    CASE WHEN expires_at > now() THEN holder END
FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id = %(thread)s

-- name: lock_head
SELECT position FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id = %(thread)s
FOR SHARE

-- name: reserve
-- The head of a log without lines is a lease and nothing else: it is in no list, and whoever wants
-- the id after the lease has run out takes it over.
INSERT INTO threadstore.thread_logs AS log (
    tenant, thread_id, position, next_ordinal, base_thread_id, base_position, last_batch,
    epoch, holder, expires_at, texts_pending
)
VALUES (
    %(tenant)s, %(thread)s, %(position)s, %(next_ordinal)s, %(base)s, %(position)s, 0,
    1, %(holder)s, now() + make_interval(secs => %(expiry)s), true
)
ON CONFLICT (tenant, thread_id) DO UPDATE
SET position = excluded.position,
    next_ordinal = excluded.next_ordinal,
    base_thread_id = excluded.base_thread_id,
    base_position = excluded.base_position,
    last_batch = 0,
    epoch = log.epoch + 1,
    holder = excluded.holder,
    expires_at = excluded.expires_at
WHERE log.position = log.base_position
    AND (log.holder IS NULL OR log.holder = excluded.holder OR log.expires_at <= now())
RETURNING epoch

-- name: forget
DELETE FROM threadstore.thread_logs
WHERE tenant = %(tenant)s AND thread_id = %(thread)s AND epoch = %(epoch)s
    AND position = base_position

-- name: append
-- Nothing happens unless the log is where the writer left it and the lease is still the writer's.
WITH moved AS (
    UPDATE threadstore.thread_logs
    SET position = %(end)s,
        next_ordinal = %(next_ordinal)s,
        last_batch = %(batch)s,
        expires_at = now() + make_interval(secs => %(expiry)s)
    WHERE tenant = %(tenant)s AND thread_id = %(thread)s
        AND epoch = %(epoch)s AND position = %(start)s
    RETURNING tenant, thread_id
)
INSERT INTO threadstore.thread_items (tenant, thread_id, position, line)
SELECT moved.tenant, moved.thread_id, %(start)s + item.number, item.line
FROM moved, unnest(%(lines)b::bytea[]) WITH ORDINALITY AS item (line, number)

-- name: append_keyed
-- The same for a batch with an idempotency key that no earlier batch had.
WITH moved AS (
    UPDATE threadstore.thread_logs
    SET position = %(end)s,
        next_ordinal = %(next_ordinal)s,
        last_batch = %(batch)s,
        expires_at = now() + make_interval(secs => %(expiry)s)
    WHERE tenant = %(tenant)s AND thread_id = %(thread)s
        AND epoch = %(epoch)s AND position = %(start)s
        AND NOT EXISTS (
            SELECT FROM threadstore.thread_receipts
            WHERE tenant = %(tenant)s AND thread_id = %(thread)s AND idempotency_key = %(key)s
        )
    RETURNING tenant, thread_id
), kept AS (
    INSERT INTO threadstore.thread_receipts (tenant, thread_id, idempotency_key, position)
    SELECT moved.tenant, moved.thread_id, %(key)s, %(end)s FROM moved
)
INSERT INTO threadstore.thread_items (tenant, thread_id, position, line)
SELECT moved.tenant, moved.thread_id, %(start)s + item.number, item.line
FROM moved, unnest(%(lines)b::bytea[]) WITH ORDINALITY AS item (line, number)

-- name: append_many
-- The same for batches of many threads at once; answers with the threads that were written.
WITH given AS (
    SELECT *
    FROM unnest(
        %(threads)b::text[]::uuid[], %(epochs)b::bigint[], %(starts)b::bigint[], %(ends)b::bigint[],
        %(next_ordinals)b::bigint[], %(batches)b::bigint[]
    ) AS given (thread_id, epoch, first, last, next_ordinal, batch)
), moved AS (
    UPDATE threadstore.thread_logs AS log
    SET position = given.last,
        next_ordinal = given.next_ordinal,
        last_batch = given.batch,
        expires_at = now() + make_interval(secs => %(expiry)s)
    FROM given
    WHERE log.tenant = %(tenant)s AND log.thread_id = given.thread_id
        AND log.epoch = given.epoch AND log.position = given.first
    RETURNING log.thread_id
), written AS (
    INSERT INTO threadstore.thread_items (tenant, thread_id, position, line)
    SELECT %(tenant)s, item.thread_id, item.position, item.line
    FROM unnest(
        %(owners)b::text[]::uuid[], %(positions)b::bigint[], %(lines)b::bytea[]
    ) AS item (thread_id, position, line)
    JOIN moved USING (thread_id)
)
SELECT thread_id::text FROM moved

-- name: receipt
SELECT position FROM threadstore.thread_receipts
WHERE tenant = %(tenant)s AND thread_id = %(thread)s AND idempotency_key = %(key)s

-- name: keep_receipt
INSERT INTO threadstore.thread_receipts (tenant, thread_id, idempotency_key, position)
VALUES (%(tenant)s, %(thread)s, %(key)s, %(end)s)

-- name: acquire
-- Whoever takes the lease over fences the former writer off with a new epoch.
UPDATE threadstore.thread_logs
SET epoch = epoch + 1,
    holder = %(holder)s,
    expires_at = now() + make_interval(secs => %(expiry)s),
    texts_pending = true
WHERE tenant = %(tenant)s AND thread_id = %(thread)s
    AND position > base_position
    AND (holder IS NULL OR expires_at <= now() OR holder = %(holder)s)
RETURNING epoch, position, next_ordinal

-- name: renew
-- Passes over what is just being written: to wait for it could be a deadlock with an append to many
-- threads, and an append renews the lease as well.
WITH free AS (
    SELECT log.thread_id
    FROM threadstore.thread_logs AS log
    JOIN unnest(%(threads)b::text[]::uuid[], %(epochs)b::bigint[]) AS mine (thread_id, epoch)
        ON log.thread_id = mine.thread_id AND log.epoch = mine.epoch
    WHERE log.tenant = %(tenant)s
    FOR UPDATE OF log SKIP LOCKED
)
UPDATE threadstore.thread_logs AS log
SET expires_at = now() + make_interval(secs => %(expiry)s)
FROM free
WHERE log.tenant = %(tenant)s AND log.thread_id = free.thread_id

-- name: renew_one
UPDATE threadstore.thread_logs
SET expires_at = now() + make_interval(secs => %(expiry)s)
WHERE tenant = %(tenant)s AND thread_id = %(thread)s AND epoch = %(epoch)s

-- name: release
UPDATE threadstore.thread_logs
SET holder = NULL, expires_at = NULL
WHERE tenant = %(tenant)s AND thread_id = %(thread)s AND epoch = %(epoch)s

-- name: size
-- In bytes, as in a file with a newline after each line.
SELECT coalesce(sum(octet_length(line) + 1), 0)::bigint FROM threadstore.thread_items
WHERE tenant = %(tenant)s AND thread_id = %(thread)s
    AND position > %(after)s AND position <= %(until)s

-- name: lines
SELECT position, line FROM threadstore.thread_items
WHERE tenant = %(tenant)s AND thread_id = %(thread)s
    AND position > %(after)s AND position <= %(until)s
ORDER BY position
LIMIT %(limit)s

-- name: lines_backwards
SELECT position, line FROM threadstore.thread_items
WHERE tenant = %(tenant)s AND thread_id = %(thread)s
    AND position > %(after)s AND position <= %(until)s
ORDER BY position DESC
LIMIT %(limit)s
