-- Codex's state_5.sqlite at migration level 32 (Codex 0.131), for homes that have none yet.
-- Later releases migrate from here by themselves, so every table, index and trigger that their
-- migrations copy, drop or build upon has to be here under its name.

CREATE TABLE _sqlx_migrations (
    version        BIGINT PRIMARY KEY,
    description    TEXT      NOT NULL,
    installed_on   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success        BOOLEAN   NOT NULL,
    checksum       BLOB      NOT NULL,
    execution_time BIGINT    NOT NULL
);

-- Threads. Times come twice: whole seconds for the oldest releases, milliseconds for the rest.
CREATE TABLE threads (
    id                 TEXT PRIMARY KEY,
    rollout_path       TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    source             TEXT    NOT NULL,
    model_provider     TEXT    NOT NULL,
    cwd                TEXT    NOT NULL,
    title              TEXT    NOT NULL,
    sandbox_policy     TEXT    NOT NULL,
    approval_mode      TEXT    NOT NULL,
    tokens_used        INTEGER NOT NULL DEFAULT 0,
    has_user_event     INTEGER NOT NULL DEFAULT 0,
    archived           INTEGER NOT NULL DEFAULT 0,
    archived_at        INTEGER,
    git_sha            TEXT,
    git_branch         TEXT,
    git_origin_url     TEXT,
    cli_version        TEXT    NOT NULL DEFAULT '',
    first_user_message TEXT    NOT NULL DEFAULT '',
    agent_nickname     TEXT,
    agent_role         TEXT,
    memory_mode        TEXT    NOT NULL DEFAULT 'enabled',
    model              TEXT,
    reasoning_effort   TEXT,
    agent_path         TEXT,
    created_at_ms      INTEGER,
    updated_at_ms      INTEGER,
    thread_source      TEXT,
    preview            TEXT    NOT NULL DEFAULT ''
);

CREATE INDEX idx_threads_archived      ON threads (archived);
CREATE INDEX idx_threads_source        ON threads (source);
CREATE INDEX idx_threads_provider      ON threads (model_provider);
CREATE INDEX idx_threads_created_at    ON threads (created_at DESC, id DESC);
CREATE INDEX idx_threads_updated_at    ON threads (updated_at DESC, id DESC);
CREATE INDEX idx_threads_created_at_ms ON threads (created_at_ms DESC, id DESC);
CREATE INDEX idx_threads_updated_at_ms ON threads (updated_at_ms DESC, id DESC);
CREATE INDEX idx_threads_archived_cwd_created_at_ms
          ON threads (archived, cwd, created_at_ms DESC, id DESC);
CREATE INDEX idx_threads_archived_cwd_updated_at_ms
          ON threads (archived, cwd, updated_at_ms DESC, id DESC);

-- A program that writes only the seconds gets the milliseconds that belong to them.
CREATE TRIGGER threads_created_at_ms_after_insert AFTER INSERT ON threads
WHEN new.created_at_ms IS NULL
BEGIN
    UPDATE threads SET created_at_ms = 1000 * new.created_at WHERE threads.id = new.id;
END;

CREATE TRIGGER threads_updated_at_ms_after_insert AFTER INSERT ON threads
WHEN new.updated_at_ms IS NULL
BEGIN
    UPDATE threads SET updated_at_ms = 1000 * new.updated_at WHERE threads.id = new.id;
END;

CREATE TRIGGER threads_created_at_ms_after_update AFTER UPDATE OF created_at ON threads
WHEN old.created_at <> new.created_at AND old.created_at_ms IS new.created_at_ms
BEGIN
    UPDATE threads SET created_at_ms = 1000 * new.created_at WHERE threads.id = new.id;
END;

CREATE TRIGGER threads_updated_at_ms_after_update AFTER UPDATE OF updated_at ON threads
WHEN old.updated_at <> new.updated_at AND old.updated_at_ms IS new.updated_at_ms
BEGIN
    UPDATE threads SET updated_at_ms = 1000 * new.updated_at WHERE threads.id = new.id;
END;

CREATE TABLE thread_spawn_edges (
    parent_thread_id TEXT NOT NULL,
    child_thread_id  TEXT NOT NULL PRIMARY KEY,
    status           TEXT NOT NULL
);

CREATE INDEX idx_thread_spawn_edges_parent_status
          ON thread_spawn_edges (parent_thread_id, status);

CREATE TABLE thread_dynamic_tools (
    thread_id     TEXT    NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    position      INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    input_schema  TEXT    NOT NULL,
    defer_loading INTEGER NOT NULL DEFAULT 0,
    namespace     TEXT,
    PRIMARY KEY (thread_id, position)
);

CREATE INDEX idx_thread_dynamic_tools_thread ON thread_dynamic_tools (thread_id);

CREATE TABLE thread_goals (
    thread_id         TEXT PRIMARY KEY NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    goal_id           TEXT    NOT NULL,
    objective         TEXT    NOT NULL,
    status            TEXT    NOT NULL
        CHECK (status IN ('active', 'paused', 'budget_limited', 'complete')),
    token_budget      INTEGER,
    tokens_used       INTEGER NOT NULL DEFAULT 0,
    time_used_seconds INTEGER NOT NULL DEFAULT 0,
    created_at_ms     INTEGER NOT NULL,
    updated_at_ms     INTEGER NOT NULL
);

-- One row: how far Codex has indexed the rollouts that were there before the database.
CREATE TABLE backfill_state (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    status          TEXT    NOT NULL,
    last_watermark  TEXT,
    last_success_at INTEGER,
    updated_at      INTEGER NOT NULL
);

-- Codex's own affairs; we never read or write the rest.
CREATE TABLE jobs (
    kind                   TEXT    NOT NULL,
    job_key                TEXT    NOT NULL,
    status                 TEXT    NOT NULL,
    worker_id              TEXT,
    ownership_token        TEXT,
    started_at             INTEGER,
    finished_at            INTEGER,
    lease_until            INTEGER,
    retry_at               INTEGER,
    retry_remaining        INTEGER NOT NULL,
    last_error             TEXT,
    input_watermark        INTEGER,
    last_success_watermark INTEGER,
    PRIMARY KEY (kind, job_key)
);

CREATE INDEX idx_jobs_kind_status_retry_lease ON jobs (kind, status, retry_at, lease_until);

CREATE TABLE stage1_outputs (
    thread_id                            TEXT PRIMARY KEY REFERENCES threads (id) ON DELETE CASCADE,
    source_updated_at                    INTEGER NOT NULL,
    raw_memory                           TEXT    NOT NULL,
    rollout_summary                      TEXT    NOT NULL,
    generated_at                         INTEGER NOT NULL,
    rollout_slug                         TEXT,
    usage_count                          INTEGER,
    last_usage                           INTEGER,
    selected_for_phase2                  INTEGER NOT NULL DEFAULT 0,
    selected_for_phase2_source_updated_at INTEGER
);

CREATE INDEX idx_stage1_outputs_source_updated_at
          ON stage1_outputs (source_updated_at DESC, thread_id DESC);

CREATE TABLE agent_jobs (
    id                  TEXT PRIMARY KEY,
    name                TEXT    NOT NULL,
    status              TEXT    NOT NULL,
    instruction         TEXT    NOT NULL,
    output_schema_json  TEXT,
    input_headers_json  TEXT    NOT NULL,
    input_csv_path      TEXT    NOT NULL,
    output_csv_path     TEXT    NOT NULL,
    auto_export         INTEGER NOT NULL DEFAULT 1,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    started_at          INTEGER,
    completed_at        INTEGER,
    last_error          TEXT,
    max_runtime_seconds INTEGER
);

CREATE INDEX idx_agent_jobs_status ON agent_jobs (status, updated_at DESC);

CREATE TABLE agent_job_items (
    job_id             TEXT    NOT NULL REFERENCES agent_jobs (id) ON DELETE CASCADE,
    item_id            TEXT    NOT NULL,
    row_index          INTEGER NOT NULL,
    source_id          TEXT,
    row_json           TEXT    NOT NULL,
    status             TEXT    NOT NULL,
    assigned_thread_id TEXT,
    attempt_count      INTEGER NOT NULL DEFAULT 0,
    result_json        TEXT,
    last_error         TEXT,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    completed_at       INTEGER,
    reported_at        INTEGER,
    PRIMARY KEY (job_id, item_id)
);

CREATE INDEX idx_agent_job_items_status ON agent_job_items (job_id, status, row_index ASC);

CREATE TABLE remote_control_enrollments (
    websocket_url          TEXT    NOT NULL,
    account_id             TEXT    NOT NULL,
    app_server_client_name TEXT    NOT NULL,
    server_id              TEXT    NOT NULL,
    environment_id         TEXT    NOT NULL,
    server_name            TEXT    NOT NULL,
    updated_at             INTEGER NOT NULL,
    PRIMARY KEY (websocket_url, account_id, app_server_client_name)
);
