-- The list index of the local store. Disposable: everything in it comes from the rollouts, from
-- Codex's state_5.sqlite and from the name index.

-- Rollout files as they were when they were indexed; the path is the plain .jsonl one.
CREATE TABLE files (
    path      BLOB PRIMARY KEY,
    thread_id TEXT,
    size      INTEGER NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    inode     INTEGER NOT NULL,
    archived  INTEGER NOT NULL,
    problem   TEXT
) WITHOUT ROWID;

CREATE INDEX files_thread ON files (thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX files_problem ON files (problem) WHERE problem IS NOT NULL;

-- The folders of rollouts with their time when they were last read: NULL if there was no such
-- folder, -1 if it has to be read again.
CREATE TABLE folders (
    path     BLOB PRIMARY KEY,
    mtime_ns INTEGER
) WITHOUT ROWID;

-- The rows of Codex's database that threads were merged with.
CREATE TABLE seen_rows (
    id     TEXT PRIMARY KEY,
    digest BLOB NOT NULL
) WITHOUT ROWID;

-- Threads whose file is gone, as they were; they come back with it.
CREATE TABLE missing (
    id       TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL,
    record   BLOB NOT NULL,
    derived  BLOB
) WITHOUT ROWID;

-- One row per thread: what lists sort and filter by, then the whole thread as JSON. The long
-- columns come last, so that a scan that filters does not read them.
CREATE TABLE threads (
    id          TEXT PRIMARY KEY,
    created_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL,
    recency_ms  INTEGER NOT NULL,
    archived    INTEGER NOT NULL,
    displayable INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    custom      TEXT,
    provider    TEXT NOT NULL,
    model       TEXT,
    git_origin  TEXT,
    parent_id   TEXT,
    cwd         TEXT NOT NULL,  -- links resolved
    name        TEXT,
    digest      INTEGER NOT NULL,  -- of the record
    search      TEXT NOT NULL,  -- name, title and preview, case folded
    record      BLOB NOT NULL
);

CREATE INDEX threads_active_created ON threads (archived, created_ms, id);
CREATE INDEX threads_active_updated ON threads (archived, updated_ms, id);
CREATE INDEX threads_active_recency ON threads (archived, recency_ms, id);
CREATE INDEX threads_created ON threads (created_ms, id);
CREATE INDEX threads_updated ON threads (updated_ms, id);
CREATE INDEX threads_recency ON threads (recency_ms, id);
CREATE INDEX threads_cwd_recency ON threads (archived, cwd, recency_ms, id);
CREATE INDEX threads_parent ON threads (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX threads_name ON threads (name) WHERE name IS NOT NULL;

-- What one pass over a thread's files found, for the next pass.
CREATE TABLE derived (
    id   TEXT PRIMARY KEY,
    data BLOB NOT NULL
);

-- Marks of the last comparison with the other sources.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
