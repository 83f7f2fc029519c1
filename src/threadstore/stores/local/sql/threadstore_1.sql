-- The list index of the local store. Disposable: everything in it comes from the rollouts, from
-- Codex's state_5.sqlite and from the name index. What can be made of its rows later is in
-- threadstore_1_later.sql.

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

-- What threads have in common: see index_rows.Shelf. Rows only come; an empty shelf does no harm.
CREATE TABLE shelves (
    key         INTEGER PRIMARY KEY,
    archived    INTEGER NOT NULL,
    displayable INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    custom      TEXT,
    provider    TEXT NOT NULL
);

-- One row per thread: what lists sort and filter by, then the whole thread as JSON. The long
-- columns come last, so that a scan that filters does not read them.
CREATE TABLE threads (
    key         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    created_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL,
    recency_ms  INTEGER NOT NULL,
    archived    INTEGER NOT NULL,
    shelf       INTEGER NOT NULL,
    cwd         TEXT NOT NULL,  -- links resolved
    git_origin  TEXT,
    model       TEXT,
    parent_id   TEXT,
    name        TEXT,
    digest      INTEGER NOT NULL,  -- of the record
    search      TEXT NOT NULL,  -- name, title and preview, case folded
    record      BLOB NOT NULL
);

-- Threads by three characters of what search terms are looked for in; the text itself decides. A
-- thread whose text is new waits in unread_titles.
CREATE VIRTUAL TABLE titles USING fts5 (
    search, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1'
);
CREATE TABLE unread_titles (key INTEGER PRIMARY KEY);

-- What one pass over a thread's files found, for the next pass.
CREATE TABLE derived (
    id   TEXT PRIMARY KEY,
    data BLOB NOT NULL
);

-- Where in a thread's history reading may begin (see marks.py).
CREATE TABLE turn_marks (
    id   TEXT PRIMARY KEY,
    data BLOB NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER turn_marks_went AFTER DELETE ON threads BEGIN
    DELETE FROM turn_marks WHERE id = old.id;
END;

-- Marks of the last comparison with the other sources.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Which threads changed last, they or their files, for whoever keeps something beside this index: a
-- number that only grows for each. The key 0 stands for all that went.
CREATE TABLE changes (
    key    INTEGER PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE
);
CREATE VIEW next_change AS SELECT coalesce(max(number), 0) + 1 AS number FROM changes;

CREATE TRIGGER thread_changed AFTER UPDATE OF digest ON threads BEGIN
    INSERT OR REPLACE INTO changes SELECT new.key, number FROM next_change;
END;
CREATE TRIGGER thread_went AFTER DELETE ON threads BEGIN
    INSERT OR REPLACE INTO changes SELECT 0, number FROM next_change;
    DELETE FROM changes WHERE key = old.key;
END;
INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16))));
