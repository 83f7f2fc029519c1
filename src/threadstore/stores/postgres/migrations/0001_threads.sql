-- Threads, their logs, and who may append. Every key is led by tenant and thread, and no order comes
-- from a sequence, so that the tables distribute by thread_id on a sharded engine.

-- Metadata: the whole of it in `record`, and a copy of what lists filter or sort by in a column of
-- its own. One statement writes both.
CREATE TABLE threadstore.threads (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    recency_at timestamptz NOT NULL,
    archived_at timestamptz,
    parent_thread_id uuid,
    cwd text NOT NULL,
    model_provider text NOT NULL,
    source_kind text NOT NULL,
    source_custom text,
    displayable boolean NOT NULL,
    search_text text NOT NULL,
    record json NOT NULL,
    PRIMARY KEY (tenant, thread_id)
);

CREATE INDEX threads_created ON threadstore.threads (tenant, created_at, thread_id)
    WHERE archived_at IS NULL;
CREATE INDEX threads_updated ON threadstore.threads (tenant, updated_at, thread_id)
    WHERE archived_at IS NULL;
CREATE INDEX threads_recency ON threadstore.threads (tenant, recency_at, thread_id)
    WHERE archived_at IS NULL;
CREATE INDEX threads_archived_created ON threadstore.threads (tenant, created_at, thread_id)
    WHERE archived_at IS NOT NULL;
CREATE INDEX threads_archived_updated ON threadstore.threads (tenant, updated_at, thread_id)
    WHERE archived_at IS NOT NULL;
CREATE INDEX threads_archived_recency ON threadstore.threads (tenant, recency_at, thread_id)
    WHERE archived_at IS NOT NULL;
CREATE INDEX threads_cwd ON threadstore.threads (tenant, cwd, recency_at, thread_id);
CREATE INDEX threads_parent ON threadstore.threads (tenant, parent_thread_id)
    WHERE parent_thread_id IS NOT NULL;

-- The head of each log: its length, what it inherits, and the lease of its writer. No column that an
-- append changes is in an index.
CREATE TABLE threadstore.thread_logs (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    position bigint NOT NULL,
    next_ordinal bigint,
    base_thread_id uuid,
    base_position bigint NOT NULL DEFAULT 0,
    last_batch bigint NOT NULL,
    epoch bigint NOT NULL,
    holder text,
    expires_at timestamptz,
    PRIMARY KEY (tenant, thread_id)
) WITH (fillfactor = 70);

CREATE INDEX thread_logs_base ON threadstore.thread_logs (tenant, base_thread_id)
    WHERE base_thread_id IS NOT NULL;

-- History: the exact bytes of each line of the thread's own log, without the newline.
CREATE TABLE threadstore.thread_items (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    position bigint NOT NULL,
    line bytea NOT NULL,
    PRIMARY KEY (tenant, thread_id, position)
);

-- What was answered to appends that named an idempotency key.
CREATE TABLE threadstore.thread_receipts (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    idempotency_key bytea NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (tenant, thread_id, idempotency_key)
);

-- Each connection says once who it works for; without that it sees nothing. Forced, so that the
-- owner of the tables is held to it as well.
ALTER TABLE threadstore.threads ENABLE ROW LEVEL SECURITY;
ALTER TABLE threadstore.threads FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON threadstore.threads
    USING (tenant = current_setting('threadstore.tenant', true));
ALTER TABLE threadstore.thread_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE threadstore.thread_logs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON threadstore.thread_logs
    USING (tenant = current_setting('threadstore.tenant', true));
ALTER TABLE threadstore.thread_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE threadstore.thread_items FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON threadstore.thread_items
    USING (tenant = current_setting('threadstore.tenant', true));
ALTER TABLE threadstore.thread_receipts ENABLE ROW LEVEL SECURITY;
ALTER TABLE threadstore.thread_receipts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON threadstore.thread_receipts
    USING (tenant = current_setting('threadstore.tenant', true));
