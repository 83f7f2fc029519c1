-- The tables as they are after all migrations (see migrations/). Made by tools/schema.py; a test
-- says that a database made from this file is the same as one that `threadstore migrate` made.

CREATE SCHEMA threadstore;

CREATE TABLE threadstore.migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE threadstore.thread_items (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    "position" bigint NOT NULL,
    line bytea NOT NULL
);

ALTER TABLE ONLY threadstore.thread_items FORCE ROW LEVEL SECURITY;

CREATE TABLE threadstore.thread_logs (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    "position" bigint NOT NULL,
    next_ordinal bigint,
    base_thread_id uuid,
    base_position bigint DEFAULT 0 NOT NULL,
    last_batch bigint NOT NULL,
    epoch bigint NOT NULL,
    holder text,
    expires_at timestamp with time zone,
    texts_pending boolean DEFAULT true NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE ONLY threadstore.thread_logs FORCE ROW LEVEL SECURITY;

CREATE TABLE threadstore.thread_receipts (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    idempotency_key bytea NOT NULL,
    "position" bigint NOT NULL
);

ALTER TABLE ONLY threadstore.thread_receipts FORCE ROW LEVEL SECURITY;

CREATE TABLE threadstore.thread_text_marks (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    "position" bigint NOT NULL,
    state json NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE ONLY threadstore.thread_text_marks FORCE ROW LEVEL SECURITY;

CREATE TABLE threadstore.thread_texts (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    "position" bigint NOT NULL,
    log_id uuid NOT NULL,
    role text NOT NULL,
    tool text,
    said_at timestamp with time zone NOT NULL,
    words tsvector NOT NULL
);

ALTER TABLE ONLY threadstore.thread_texts FORCE ROW LEVEL SECURITY;

CREATE TABLE threadstore.threads (
    tenant text NOT NULL,
    thread_id uuid NOT NULL,
    version bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    recency_at timestamp with time zone NOT NULL,
    archived_at timestamp with time zone,
    parent_thread_id uuid,
    cwd text NOT NULL,
    model_provider text NOT NULL,
    source_kind text NOT NULL,
    source_custom text,
    displayable boolean NOT NULL,
    search_text text NOT NULL,
    record json NOT NULL,
    model text,
    git_origin text,
    name text
);

ALTER TABLE ONLY threadstore.threads FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY threadstore.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY threadstore.thread_items
    ADD CONSTRAINT thread_items_pkey PRIMARY KEY (tenant, thread_id, "position");

ALTER TABLE ONLY threadstore.thread_logs
    ADD CONSTRAINT thread_logs_pkey PRIMARY KEY (tenant, thread_id);

ALTER TABLE ONLY threadstore.thread_receipts
    ADD CONSTRAINT thread_receipts_pkey PRIMARY KEY (tenant, thread_id, idempotency_key);

ALTER TABLE ONLY threadstore.thread_text_marks
    ADD CONSTRAINT thread_text_marks_pkey PRIMARY KEY (tenant, thread_id);

ALTER TABLE ONLY threadstore.thread_texts
    ADD CONSTRAINT thread_texts_pkey PRIMARY KEY (tenant, thread_id, "position");

ALTER TABLE ONLY threadstore.threads
    ADD CONSTRAINT threads_pkey PRIMARY KEY (tenant, thread_id);

CREATE INDEX thread_logs_base ON threadstore.thread_logs USING btree (tenant, base_thread_id) WHERE (base_thread_id IS NOT NULL);

CREATE INDEX thread_logs_pending ON threadstore.thread_logs USING btree (tenant, thread_id) WHERE texts_pending;

CREATE INDEX thread_texts_words ON threadstore.thread_texts USING gin (words) WITH (gin_pending_list_limit='1024');

CREATE INDEX threads_archived_created ON threadstore.threads USING btree (tenant, created_at, thread_id) WHERE (archived_at IS NOT NULL);

CREATE INDEX threads_archived_recency ON threadstore.threads USING btree (tenant, recency_at, thread_id) WHERE (archived_at IS NOT NULL);

CREATE INDEX threads_archived_updated ON threadstore.threads USING btree (tenant, updated_at, thread_id) WHERE (archived_at IS NOT NULL);

CREATE INDEX threads_created ON threadstore.threads USING btree (tenant, created_at, thread_id) WHERE (archived_at IS NULL);

CREATE INDEX threads_cwd ON threadstore.threads USING btree (tenant, cwd, recency_at, thread_id);

CREATE INDEX threads_git_origin ON threadstore.threads USING btree (tenant, git_origin, recency_at, thread_id) WHERE (git_origin IS NOT NULL);

CREATE INDEX threads_model ON threadstore.threads USING btree (tenant, model, recency_at, thread_id) WHERE (model IS NOT NULL);

CREATE INDEX threads_name ON threadstore.threads USING btree (tenant, name) WHERE (name IS NOT NULL);

CREATE INDEX threads_parent ON threadstore.threads USING btree (tenant, parent_thread_id) WHERE (parent_thread_id IS NOT NULL);

CREATE INDEX threads_provider ON threadstore.threads USING btree (tenant, model_provider, recency_at, thread_id);

CREATE INDEX threads_recency ON threadstore.threads USING btree (tenant, recency_at, thread_id) WHERE (archived_at IS NULL);

CREATE INDEX threads_source ON threadstore.threads USING btree (tenant, source_kind, recency_at, thread_id);

CREATE INDEX threads_updated ON threadstore.threads USING btree (tenant, updated_at, thread_id) WHERE (archived_at IS NULL);

CREATE POLICY search ON threadstore.thread_texts AS RESTRICTIVE FOR SELECT USING ((words @@ (COALESCE(NULLIF(current_setting('threadstore.search'::text, true), ''::text), '!NO_WORD'::text))::tsquery));

CREATE POLICY tenant ON threadstore.thread_items USING ((tenant = current_setting('threadstore.tenant'::text, true)));

CREATE POLICY tenant ON threadstore.thread_logs USING ((tenant = current_setting('threadstore.tenant'::text, true)));

CREATE POLICY tenant ON threadstore.thread_receipts USING ((tenant = current_setting('threadstore.tenant'::text, true)));

CREATE POLICY tenant ON threadstore.thread_text_marks USING ((tenant = current_setting('threadstore.tenant'::text, true)));

CREATE POLICY tenant ON threadstore.thread_texts USING ((tenant = current_setting('threadstore.tenant'::text, true)));

CREATE POLICY tenant ON threadstore.threads USING ((tenant = current_setting('threadstore.tenant'::text, true)));

ALTER TABLE threadstore.thread_items ENABLE ROW LEVEL SECURITY;

ALTER TABLE threadstore.thread_logs ENABLE ROW LEVEL SECURITY;

ALTER TABLE threadstore.thread_receipts ENABLE ROW LEVEL SECURITY;

ALTER TABLE threadstore.thread_text_marks ENABLE ROW LEVEL SECURITY;

ALTER TABLE threadstore.thread_texts ENABLE ROW LEVEL SECURITY;

ALTER TABLE threadstore.threads ENABLE ROW LEVEL SECURITY;

INSERT INTO threadstore.migrations (version, name, checksum) VALUES
    (1, 'threads', '27c35fffdfe5f5428c138865f31d9c74773be122fe91692896d443023b945fd6'),
    (2, 'models_and_remotes', '125a391173b7ef4ed675759b970880a20b86813e802519fe1bd3cea148cd6d7a'),
    (3, 'texts', '9cb68021f020ecc621521be74640604fa2c03e6cd2722f7ea84332c755993c2c'),
    (4, 'lists', '467d33dc1157b36e74585aa103ea6b6ae04a81338e3afea491cbe175c473fe9d'),
    (5, 'names', '266c4e8c17ef8310656e9a56b0d680f2dd6d58d9bcba548aae0ba59c6535dc4f');
